"""QuantizeLinear and DequantizeLinear as arithmetic (ONNX operator specification).

Targets take these nodes as a statement about a tensor, where it has one scale and is stored in 8 or
16 bits, or is a constant; `needs_arithmetic` tells the others. For them
  1. quantize:    saturate(round(x / scale) + zero_point), half to even
  2. dequantize:  (x - zero_point) * scale
with scale and zero point spread over the data: along an axis, or in blocks along one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import CannotExpand, Expansion
from edgewise.graph.read import attribute, constant

_TENSOR_DTYPES = ("int8", "uint8", "int16", "uint16")
_ARITHMETIC_DTYPES = ("int8", "uint8", "int16", "uint16", "int32")


def needs_arithmetic(node: ir.Node) -> bool:
    """Whether the node is more than the statement of one scale of a tensor."""
    data, scale = node.inputs[0], node.inputs[1]
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    stored = node.outputs[0] if node.op_type == "QuantizeLinear" else data
    if constant(data) is not None or stored is None or stored.dtype is None:
        return False
    known = constant(scale)
    if known is None or (zero is not None and constant(zero) is None):
        return True
    single = known.size == 1 and not attribute(node, "block_size", 0)
    return not single or np.dtype(stored.dtype.numpy()).name not in _TENSOR_DTYPES


def expand_quantize_linear(e: Expansion) -> Sequence[ir.Value]:
    """Case 1."""
    target = e.node.outputs[0].dtype or ir.DataType.UINT8
    limits = np.iinfo(_integer(target))
    steps = e.op("Round", e.op("Div", e.input(0), _spread(e, e.input(1))))
    if e.has(2):
        zero = e.op("Cast", e.input(2), to=ir.DataType.FLOAT.value)
        steps = e.op("Add", steps, _spread(e, zero))
    low, high = e.array(limits.min, np.float32), e.array(limits.max, np.float32)
    return [e.op("Cast", e.op("Clip", steps, low, high), to=target.value)]


def expand_dequantize_linear(e: Expansion) -> Sequence[ir.Value]:
    """Case 2; the difference is taken in int32, where it is exact."""
    source = e.input(0).dtype or ir.DataType.UINT8
    _integer(source)
    steps = e.op("Cast", e.input(0), to=ir.DataType.INT32.value)
    if e.has(2):
        zero = e.op("Cast", e.input(2), to=ir.DataType.INT32.value)
        steps = e.op("Sub", steps, _spread(e, zero))
    real = e.op("Cast", steps, to=ir.DataType.FLOAT.value)
    return [e.op("Mul", real, _spread(e, e.input(1)))]


def _integer(dtype: ir.DataType) -> np.dtype[Any]:
    found = np.dtype(dtype.numpy())
    if found.name not in _ARITHMETIC_DTYPES:
        raise CannotExpand(f"it stores numbers as {found}", "Quantize to int8.")
    return found


def _spread(e: Expansion, part: ir.Value) -> ir.Value:
    """Scale or zero point, which have one shape, in a shape that broadcasts to the data."""
    shape, data = e.shape(1), e.shape(0)
    if not shape or shape == (1,):
        return e.reshape(part, []) if shape else part
    axis = int(e.attribute("axis", 1)) % len(data)
    block = int(e.attribute("block_size", 0))
    if not block:
        return e.reshape(part, [*[1] * axis, -1, *[1] * (len(data) - axis - 1)])
    before, after = shape[:axis], shape[axis + 1 :]
    lifted = e.reshape(part, [*before, shape[axis], 1, *after])
    repeated = e.op("Expand", lifted, e.ints([*before, shape[axis], block, *after]))
    whole = e.reshape(repeated, [*before, shape[axis] * block, *after])
    if shape[axis] * block == data[axis]:
        return whole
    ends = (e.ints([0]), e.ints([data[axis]]), e.ints([axis]))
    cut: ir.Value = e.op("Slice", whole, *ends)
    return cut
