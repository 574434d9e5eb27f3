"""What a QDQ model computed before it was quantized: its float constants and folded activations.

1. The constant behind a DequantizeLinear is that of the hub model's node of the same name, at the
   same input, in the form that `float_form` gives it: Gemm's factors folded in, a bias as a vector.
   An addition that became the bias of a product is found behind the product (`joined_bias`), and an
   operand that changed sides is the hub node's only constant.
2. What is not finite, a mask, ends where the integers end.
   A layer that computes each channel in a unit of its own (`residual_stream`, case 2) is followed
   by the product that undoes it, which tells the units.
3. A Relu or Clip of the hub model that the QDQ model lacks was folded into the pair behind it: it
   clamps what the node before it writes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.activation_functions import Bounds, bounds_of
from edgewise.calibration.operands import BIASED_OPS
from edgewise.graph import TensorQuantization, attribute, constant, consumers
from edgewise.graph.joined_bias import linear_layer
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE

Array = npt.NDArray[Any]
_BIAS = 2
_LINEAR = frozenset({"Add", "Gemm", "MatMul"})
#: what may be between a layer and the product that undoes its units
_BEFORE_UNDONE = frozenset({"Add", "Reshape", QUANTIZE, DEQUANTIZE})
#: how that product's name ends
_UNDONE = "_from_units"
#: inputs of Gemm -> the attribute that multiplies it
_FACTORS: Mapping[int, str] = {1: "alpha", 2: "beta"}


def nodes_by_name(model: ir.Model) -> dict[str, ir.Node]:
    return {node.name or "": node for node in model.graph}


def float_constant(
    hub: Mapping[str, ir.Node],
    node: ir.Node,
    index: int,
    stored: Array,
    quantization: TensorQuantization,
) -> npt.NDArray[np.float32] | None:
    """Cases 1 and 2: input `index` of a QDQ model's node in float; None where the hub has none.

    Args:
        hub: the hub model's nodes by name.
        stored: the integers.
        quantization: what the integers stand for.
    """
    original = hub.get(node.name or "")
    found = None if original is None else _constant_of(original, node, index)
    if original is None or found is None:
        return None
    if (units := _units(node, hub)) is not None:
        turned = original.op_type == "Gemm" and index == 1 and attribute(original, "transB", 0)
        found = (found / (units[:, None] if turned else units)).astype(np.float32)
    if found.shape != stored.shape:
        if found.size not in (1, stored.size):
            return None
        found = np.broadcast_to(found.reshape(-1), (stored.size,)).reshape(stored.shape)
    found = found.astype(np.float32)
    if np.isfinite(found).all():
        return found
    limits = np.iinfo(stored.dtype)
    low, high = (
        quantization.dequantize(np.full_like(stored, end)) for end in (limits.min, limits.max)
    )
    return np.asarray(np.clip(found, low, high))


def _units(node: ir.Node, hub: Mapping[str, ir.Node]) -> Array | None:
    """What the layer's channels are counted in, where a product that the hub model lacks undoes
    it."""
    if node.op_type not in _LINEAR:
        return None
    reached = node.outputs[0]
    while len(readers := consumers(reached)) == 1:
        reader = readers[0]
        if reader.op_type == "Mul" and (reader.name or "").endswith(_UNDONE):
            return None if reader.name in hub else constant(reader.inputs[1])
        if reader.op_type not in _BEFORE_UNDONE:
            return None
        reached = reader.outputs[0]
    return None


def _constant_of(original: ir.Node, node: ir.Node, index: int) -> Array | None:
    if original.op_type == "MatMul" and node.op_type == "Gemm" and index == _BIAS:
        layer = linear_layer(original)
        return None if layer is None else layer.bias
    array = constant(original.inputs[index]) if index < len(original.inputs) else None
    if original.op_type == "Gemm" and array is not None and index in _FACTORS:
        return array * np.float32(attribute(original, _FACTORS[index], 1.0))
    if original.op_type in BIASED_OPS and array is None and index == _BIAS:
        return np.zeros(1, np.float32)
    if original.op_type in ("Add", "Mul") and array is None:
        array = next((c for v in original.inputs if (c := constant(v)) is not None), None)
    return array


@dataclass(frozen=True, slots=True)
class Folded:
    """What clamps the output of a node in float: the interval, and the hub model's nodes."""

    bounds: Bounds
    nodes: tuple[str, ...]


def folded_activations(hub: ir.Model, qdq: ir.Model) -> dict[str, Folded]:
    """Case 3, by name of the QDQ model's node whose output they clamp."""
    present = {node.name for node in qdq.graph}
    folded: dict[str, Folded] = {}
    for node in hub.graph:
        bounds = bounds_of(node)
        if node.name in present or bounds is None:
            continue
        producer = _producer(node)
        while producer is not None and producer.name not in present:
            producer = _producer(producer)
        if producer is not None:
            before = folded.get(producer.name or "", Folded((-math.inf, math.inf), ()))
            both = max(before.bounds[0], bounds[0]), min(before.bounds[1], bounds[1])
            folded[producer.name or ""] = Folded(both, (*before.nodes, node.name or ""))
    return folded


def _producer(node: ir.Node) -> ir.Node | None:
    """The node that computes the first computed input."""
    producers = (value.producer() for value in node.inputs if value is not None)
    return next((producer for producer in producers if producer is not None), None)
