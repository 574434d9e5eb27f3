"""What a QDQ model promises of the finished program: its quantizations, and its quantized weights.

Gathered from the legalized ONNX graph, which the program was written from; `verify_program` looks
for each of them in the finished bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.graph import (
    TensorQuantization,
    attribute,
    constant,
    node_label,
    quantization_of,
)
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.targets.apple.whole_layers import is_fixed

Array = npt.NDArray[Any]

#: operators with weights; a product may have them on either side, the others as input 1
LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_INTEGERS = tuple(np.dtype(t) for t in (np.int8, np.uint8, ml_dtypes.int4, ml_dtypes.uint4))


@dataclass(frozen=True, slots=True, eq=False)
class PromisedPair:
    """A QuantizeLinear or DequantizeLinear of a computed value. `source` is the node whose integers
    a DequantizeLinear reads, where that is a QuantizeLinear."""

    node: str
    kind: str  # of the MIL operation
    quantization: TensorQuantization
    source: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Integers:
    """Integers with the scale and the zero point of each."""

    data: Array
    scale: npt.NDArray[np.float32]
    zero_point: Array

    def map(self, move: Any) -> Integers:
        """The same elements elsewhere."""
        return Integers(move(self.data), move(self.scale), move(self.zero_point))


@dataclass(frozen=True, slots=True, eq=False)
class PromisedLayer:
    """A layer with quantized weights, as its operator reads them. A `transposed` matrix has its
    columns where MIL's `linear` has rows."""

    node: str
    op_type: str
    weight: Integers
    transposed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Promises:
    pairs: tuple[PromisedPair, ...]
    layers: tuple[PromisedLayer, ...]
    #: node -> its ONNX operator
    operators: Mapping[str, str]


def promises_of(model: ir.Model) -> Promises:
    """Of a legalized model.

    Raises ModelError when a scale or zero point is not constant.
    """
    pairs, layers = [], []
    for node in model.graph:
        read = any(output.uses() or output.is_graph_output() for output in node.outputs)
        if node.op_type in (QUANTIZE, DEQUANTIZE):
            if read and not is_fixed(node.inputs[0]):
                pairs.append(_pair(node))
        elif read and node.op_type in LAYERS and (layer := _layer(node)) is not None:
            layers.append(layer)
    operators = {node_label(node): node.op_type for node in model.graph}
    return Promises(tuple(pairs), tuple(layers), operators)


def _pair(node: ir.Node) -> PromisedPair:
    stored = node.inputs[0]
    producer = None if stored is None else stored.producer()
    reads_q = node.op_type == DEQUANTIZE and producer is not None and producer.op_type == QUANTIZE
    return PromisedPair(
        node=node_label(node),
        kind="quantize" if node.op_type == QUANTIZE else "dequantize",
        quantization=quantization_of(node),
        source=node_label(producer) if reads_q and producer is not None else "",
    )


def _layer(node: ir.Node) -> PromisedLayer | None:
    for index in (1, 0) if node.op_type == "MatMul" else (1,):
        weight = _integers(node.inputs[index])
        if weight is not None:
            product = node.op_type in ("Gemm", "MatMul")
            if weight.data.ndim == 1:  # a vector has the axis that the product gives it
                weight = weight.map(_as_column if index else np.atleast_2d)
            transposed = product and not attribute(node, "transB", 0)
            return PromisedLayer(node_label(node), node.op_type, weight, transposed)
    return None


def _as_column(vector: Array) -> Array:
    return vector.reshape(-1, 1)


def _integers(value: ir.Value | None) -> Integers | None:
    """The quantized constant that a value is, moved as the nodes between move it."""
    node = None if value is None else value.producer()
    if node is None:
        return None
    if node.op_type == DEQUANTIZE:
        return _stored(node)
    inner = _integers(node.inputs[0]) if node.op_type in ("Transpose", "Reshape") else None
    if inner is None:
        return None
    if node.op_type == "Transpose":
        perm = attribute(node, "perm") or list(reversed(range(inner.data.ndim)))
        return inner.map(lambda array: array.transpose(perm))
    shape = None if value is None or value.shape is None else value.shape
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        return None
    return inner.map(lambda array: array.reshape(tuple(shape)))


def _stored(dequantize: ir.Node) -> Integers | None:
    source = dequantize.inputs[0]
    data = constant(source)
    quantize = None if source is None else source.producer()
    if data is None and quantize is not None and quantize.op_type == QUANTIZE:
        real = constant(quantize.inputs[0])
        data = None if real is None else _quantized(real, quantization_of(quantize))
    if data is None or data.dtype not in _INTEGERS:
        return None
    quantization = quantization_of(dequantize)
    scale, zero = (
        _spread(part, quantization, data.shape)
        for part in (quantization.scale, quantization.zero_point)
    )
    return Integers(data, scale, zero)


def _spread(part: Array, quantization: TensorQuantization, shape: tuple[int, ...]) -> Array:
    axis = quantization.axis
    if quantization.block_size and axis is not None:
        repeated = np.repeat(part, quantization.block_size, axis)
        return repeated.take(range(shape[axis]), axis)  # the last block may be short
    return np.broadcast_to(_along(part, axis, len(shape)), shape)


def _quantized(real: Array, quantization: TensorQuantization) -> Array:
    """ONNX QuantizeLinear: divide in float32, round half to even, saturate."""
    scale, zero = (
        _along(part, quantization.axis, real.ndim)
        for part in (quantization.scale, quantization.zero_point)
    )
    limits = np.iinfo(zero.dtype)
    shifted = np.rint(real.astype(np.float32) / scale) + zero.astype(np.float32)
    return np.asarray(np.clip(shifted, limits.min, limits.max).astype(zero.dtype))


def _along(part: Array, axis: int | None, rank: int) -> Array:
    if axis is None or part.ndim == 0:
        return part
    shape = [1] * rank
    shape[axis] = -1
    return part.reshape(shape)
