"""The operator-oriented form of quantized models (ONNX operator specification).

QLinearConv and QLinearMatMul compute on real numbers that their operands stand for:
  1. DequantizeLinear of every operand, the operator, QuantizeLinear; a bias has the scale
     s_x * s_w and zero point 0
ConvInteger and MatMulInteger give exact int32 sums of products (a - za) * (b - zb):
  2. a sum of so few products that it stays below 2^24 is exact in float32, in whatever order it is
     added up; longer sums are cut along the input channels into such parts, added in int32
DynamicQuantizeLinear finds scale and zero point of a range that holds 0:
  3. scale = (max - min) / 255, zero_point = round(saturate(-min / scale)), uint8; a range without
     extent has scale 1, as in ONNX Runtime
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import CannotExpand, Expansion

_FLOAT, _INT32, _UINT8 = (
    t.value for t in (ir.DataType.FLOAT, ir.DataType.INT32, ir.DataType.UINT8)
)
#: from here on float32 skips integers
_EXACT = 2**24
_CONV_ATTRIBUTES = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def expand_qlinear_conv(e: Expansion) -> Sequence[ir.Value]:
    """Case 1."""
    x = _dequantized(e, 0)
    weights = _dequantized(e, 3, axis=0)
    bias = None
    if e.has(8):
        scale = e.known(1, "scale of the input") * e.known(4, "scale of the weights")
        scale = scale.reshape(-1) if scale.size > 1 else scale.reshape(())
        bias = e.op("DequantizeLinear", e.input(8), e.array(scale.astype(np.float32)), axis=0)
    attributes = {name: e.attribute(name) for name in _CONV_ATTRIBUTES}
    return [_quantized(e, e.op("Conv", x, weights, bias, **attributes), 6)]


def expand_qlinear_matmul(e: Expansion) -> Sequence[ir.Value]:
    """Case 1; scales of A are per row, those of B per column, where they are vectors."""
    a = _dequantized(e, 0, axis=-2)
    b = _dequantized(e, 3, axis=-1)
    return [_quantized(e, e.op("MatMul", a, b), 6)]


def _dequantized(e: Expansion, index: int, axis: int = 0) -> ir.Value:
    """An operand that is followed by its scale and its zero point."""
    scale, zero = _flat(e, index + 1), _flat(e, index + 2)
    along = axis if np.prod(e.shape(index + 1)) > 1 else None
    real: ir.Value = e.op("DequantizeLinear", e.input(index), scale, zero, axis=along)
    return real


def _quantized(e: Expansion, real: ir.Value, index: int) -> ir.Value:
    out: ir.Value = e.op("QuantizeLinear", real, _flat(e, index), _flat(e, index + 1))
    return out


def _flat(e: Expansion, index: int) -> ir.Value:
    """A scale or zero point as QuantizeLinear wants it: a scalar or a vector."""
    shape = e.shape(index)
    size = int(np.prod(shape))
    if len(shape) == (1 if size > 1 else 0):
        return e.input(index)
    known = e.constant(index)
    if known is not None:
        return e.array(known.reshape(-1) if size > 1 else known.reshape(()))
    if size > 1 and size not in shape:
        raise CannotExpand("its scales vary along two axes", "Quantize with fewer scales.")
    return e.reshape(e.input(index), [-1] if size > 1 else [])


def expand_matmul_integer(e: Expansion) -> Sequence[ir.Value]:
    """Case 2."""
    a, b = _centred(e, 0, 2, column=True), _centred(e, 1, 3)
    inner = e.shape(0)[-1]
    largest = _EXACT // (_largest(e, 0, 2) * _largest(e, 1, 3))
    axis = -1 if len(e.shape(1)) == 1 else -2
    return [_in_parts(e, inner, largest, (a, -1), (b, axis), lambda x, y: e.op("MatMul", x, y))]


def expand_conv_integer(e: Expansion) -> Sequence[ir.Value]:
    """Case 2; padding stands for the zero point, which is 0 once it is subtracted."""
    x, weights = _centred(e, 0, 2), _centred(e, 1, 3, column=True)
    _, channels, *kernel = e.shape(1)
    largest = _EXACT // (_largest(e, 0, 2) * _largest(e, 1, 3) * int(np.prod(kernel)))
    attributes = {name: e.attribute(name) for name in _CONV_ATTRIBUTES}
    grouped = int(e.attribute("group", 1)) > 1

    def convolve(data: ir.Value, part: ir.Value) -> ir.Value:
        y: ir.Value = e.op("Conv", data, part, **attributes)
        return y

    if largest < 1 or (grouped and channels > largest):
        raise CannotExpand(
            "its sums of products are too long to be exact in float32",
            "Use QuantizeLinear and DequantizeLinear around a convolution.",
        )
    return [_in_parts(e, channels, largest, (x, 1), (weights, 1), convolve)]


def _in_parts(
    e: Expansion,
    length: int,
    largest: int,
    first: tuple[ir.Value, int],
    second: tuple[ir.Value, int],
    multiply: Callable[[ir.Value, ir.Value], ir.Value],
) -> ir.Value:
    """The sum over parts of at most `largest` of the axis that both operands are summed along."""
    if length <= largest:
        whole: ir.Value = e.op("Cast", multiply(first[0], second[0]), to=_INT32)
        return whole
    sums: list[ir.Value] = []
    for start in range(0, length, largest):
        bounds = e.ints([start]), e.ints([min(start + largest, length)])
        parts = [e.op("Slice", value, *bounds, e.ints([axis])) for value, axis in (first, second)]
        sums.append(e.op("Cast", multiply(*parts), to=_INT32))
    total = sums[0]
    for part in sums[1:]:
        total = e.op("Add", total, part)
    return total


def _centred(e: Expansion, index: int, zero: int, *, column: bool = False) -> ir.Value:
    """An operand less its zero point, as float32. A vector of zero points belongs to the rows of
    the left operand (`column`), or to the columns of the right one."""
    value: ir.Value = e.op("Cast", e.input(index), to=_FLOAT)
    if not e.has(zero):
        return value
    point = e.op("Cast", e.input(zero), to=_FLOAT)
    shape = e.shape(zero)
    if len(shape) == 1:
        rest = len(e.shape(index)) - 1
        point = e.reshape(point, _zero_dims(e, rest, shape[0]) if column else shape)
    centred: ir.Value = e.op("Sub", value, point)
    return centred


def _zero_dims(e: Expansion, rest: int, size: int) -> list[int]:
    """Shape of zero points per output channel of weights, or per row of a matrix."""
    if size == 1:
        return [1]
    if e.node.op_type == "ConvInteger":
        return [size, *[1] * rest]
    return [size, 1]


def _largest(e: Expansion, index: int, zero: int) -> int:
    """The largest magnitude that an operand can have once its zero point is subtracted."""
    info = np.iinfo(e.dtype(index))
    if not e.has(zero):
        points = np.zeros(1, np.int64)
    else:
        known = e.constant(zero)
        points = np.array([info.min, info.max]) if known is None else known.astype(np.int64)
    return int(max(info.max - points.min(), points.max() - info.min))


def expand_dynamic_quantize_linear(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 3."""
    x, zero, top = e.input(0), e.number(0.0), e.number(255.0)
    low = e.op("Min", e.op("ReduceMin", x, keepdims=0), zero)
    high = e.op("Max", e.op("ReduceMax", x, keepdims=0), zero)
    extent = e.op("Sub", high, low)
    flat = e.op("Equal", extent, zero)
    scale = e.op("Where", flat, e.number(1.0), e.op("Div", extent, top))
    point = e.op("Round", e.op("Clip", e.op("Div", e.op("Neg", low), scale), zero, top))
    steps = e.op("Add", e.op("Round", e.op("Div", x, scale)), point)
    y = e.op("Cast", e.op("Clip", steps, zero, top), to=_UINT8)
    return [y, scale, e.op("Cast", point, to=_UINT8)]
