"""What the QDQ model says of the tensors of a file, tensor by tensor.

Read from the QuantizeLinear and DequantizeLinear nodes themselves, not from what the lowering made
of them. uint8 activations and weights are int8 in the file, with zero points 128 lower: the same
real numbers. So it is with 4 and 16 bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.graph import TensorQuantization, attribute, constant, quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.targets.android.layout import Value
from edgewise.targets.android.model import INT4, INT8, INT16, Graph, Tensor
from edgewise.targets.android.verify import WEIGHTED

#: unsigned types, what they are stored as, and what their zero points lose
_SIGNED = {"uint4": (INT4, 8), "uint8": (INT8, 128), "uint16": (INT16, 32768)}


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """`source` is the name of the quantized tensor in the QDQ model; the parameters are vectors."""

    source: str
    dtype: np.dtype[Any]
    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int64]


Expectations = Mapping[Tensor, list[Expected]]


def expectations(
    model: ir.Model, stands_for: Mapping[ir.Value, Value], graph: Graph
) -> Expectations:
    """What the tensors of `graph` must carry; call it before the writer makes names unique.

    Args:
        model: the QDQ model that was lowered.
        stands_for: its quantized values, and what took their place.
        graph: the finished graph; values that nothing needs are no longer in it.
    """
    kept = set(graph.tensors())
    wanted: dict[Tensor, list[Expected]] = {}
    for source, value in stands_for.items():
        found = parameters_of(source)
        if found is not None and value.tensor in kept:
            wanted.setdefault(value.tensor, []).append(_expected(source.name or "", found))
    stored = {node.outputs[0].name: node for node in _constant_dequantizers(model.graph)}
    for tensor in _weights(graph):
        node = stored.get(tensor.name)
        if node is not None:
            claim = _expected(tensor.name, quantization_of(node))
            wanted[tensor] = [_for_each_group(claim, node)]
    return wanted


def parameters_of(quantized: ir.Value) -> TensorQuantization | None:
    """The parameters of the node that writes the value, or else of one that reads it."""
    producer = quantized.producer()
    if producer is not None and producer.op_type == QUANTIZE:
        return quantization_of(producer)
    for use in quantized.uses():
        if use.node.op_type == DEQUANTIZE and use.idx == 0:
            return quantization_of(use.node)
    return None


def _expected(source: str, found: TensorQuantization) -> Expected:
    signed, middle = _SIGNED.get(found.zero_point.dtype.name, (found.zero_point.dtype, 0))
    zero_point = np.atleast_1d(found.zero_point).astype(np.int64) - middle
    return Expected(source, signed, np.atleast_1d(found.scale), zero_point)


def _for_each_group(claim: Expected, dequantizer: ir.Node) -> Expected:
    """ONNX stores the scales of a transposed convolution for the channels of one group, and each
    group has the same; TFLite has one for each channel."""
    readers = [use.node for use in dequantizer.outputs[0].uses()]
    groups = [int(attribute(n, "group", 1)) for n in readers if n.op_type == "ConvTranspose"]
    if claim.scale.size == 1 or not groups:
        return claim
    return replace(
        claim,
        scale=np.tile(claim.scale, groups[0]),
        zero_point=np.tile(claim.zero_point, groups[0]),
    )


def _constant_dequantizers(nodes: Iterable[ir.Node]) -> Iterator[ir.Node]:
    for node in nodes:
        if node.op_type != DEQUANTIZE or constant(node.inputs[0]) is None:
            continue
        readers = [use.node for use in node.outputs[0].uses()]
        if all(attribute(reader, "alpha", 1.0) == 1.0 for reader in readers):
            yield node  # the alpha of a Gemm goes into the scale of its weights


def _weights(graph: Graph) -> Iterator[Tensor]:
    for operator in graph.operators:
        position = WEIGHTED[operator.kind][1] if operator.kind in WEIGHTED else None
        if position is not None and len(operator.inputs) > position:
            tensor = operator.inputs[position]
            if tensor.quantization is not None and tensor.data is not None:
                yield tensor
