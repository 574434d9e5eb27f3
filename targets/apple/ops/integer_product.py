"""MatMulInteger and ConvInteger: sums of products (a - za) * (b - zb) of 8-bit integers, in int32.

As floats they would be wrong in fp16 packages, so both are MIL `matmul` of int32, which is exact:
1. MatMulInteger is one; vectors get the axis that ONNX gives them, and lose it again.
2. ConvInteger is the sum over the elements t of its window of W_t @ X_t, where X_t are the elements
   of the padded input that t meets, and W_t the weights (channels out, channels in) of each group.
"""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np

from edgewise.graph import resolve_pads
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import Array, Call, Operand
from edgewise.targets.apple.ops.numbers import number
from edgewise.targets.apple.ops.padding import pad_constant


def matmul_integer(call: Call) -> Operand:
    """Case 1. The zero point of A may be a vector over its rows, that of B over its columns."""
    rows = [-1, 1] if call.has(2) and call.rank(2) == 1 and call.shape(2) != (1,) else None
    a, b = _centred(call, 0, 2, rows), _centred(call, 1, 3, None)
    dropped = []
    if b.rank == 1:
        b = mb.expand_dims(x=b, axes=[-1])
        dropped.append(-1)
    if a.rank == 1:
        a = mb.expand_dims(x=a, axes=[0])
        dropped.insert(0, -2)
    if not dropped:
        return mb.matmul(x=a, y=b, name=call.name)
    return mb.squeeze(x=mb.matmul(x=a, y=b), axes=dropped, name=call.name)


def conv_integer(call: Call) -> Operand:
    """Case 2."""
    (n, channels, *spatial), (out, inner, *kernel) = call.shape(0), call.shape(1)
    rank, groups = len(kernel), int(call.attribute("group", 1))
    strides = call.attribute("strides") or [1] * rank
    dilations = call.attribute("dilations") or [1] * rank
    begin, end = resolve_pads(call.node, spatial, kernel, strides, dilations)
    if min([*begin, *end]) < 0:
        call.refuse("its padding is negative", "Slice the input instead.")
    x = _centred(call, 0, 2, None)
    if any([*begin, *end]):
        amounts = [(0, 0), (0, 0), *zip(begin, end, strict=True)]
        x = pad_constant(x, amounts, np.zeros((), np.int32))
    windows = [
        (size + low + high - (window - 1) * step - 1) // stride + 1
        for size, low, high, window, step, stride in zip(
            spatial, begin, end, kernel, dilations, strides, strict=True
        )
    ]
    weight = _centred(call, 1, 3, [-1, *[1] * (rank + 1)])
    weight = mb.reshape(x=weight, shape=[groups, out // groups, inner, prod(kernel)])
    total: Var | None = None
    for index, tap in enumerate(product(*(range(size) for size in kernel))):
        first = [position * step for position, step in zip(tap, dilations, strict=True)]
        last = [
            start + (count - 1) * stride + 1
            for start, count, stride in zip(first, windows, strides, strict=True)
        ]
        met = mb.slice_by_index(
            x=x, begin=[0, 0, *first], end=[n, channels, *last], stride=[1, 1, *strides]
        )
        columns = mb.reshape(x=met, shape=[n, groups, inner, prod(windows)])
        factor = mb.slice_by_index(
            x=weight, begin=[0, 0, 0, index], end=[groups, out // groups, inner, index + 1]
        )
        part = mb.matmul(x=mb.squeeze(x=factor, axes=[3]), y=columns)
        total = part if total is None else mb.add(x=total, y=part)
    return mb.reshape(x=total, shape=[n, out, *windows], name=call.name)


def _centred(call: Call, index: int, zero_index: int, shape: list[int] | None) -> Var:
    """An operand minus its zero point, which a vector is given `shape` for, in int32."""
    value = _int32(call, index)
    if not call.has(zero_index):
        return value if isinstance(value, Var) else mb.const(val=value)
    zero = _int32(call, zero_index)
    if shape is not None and prod(call.shape(zero_index)) > 1:
        zero = mb.reshape(x=zero, shape=shape) if isinstance(zero, Var) else zero.reshape(shape)
    if not isinstance(value, Var) and not isinstance(zero, Var):
        return mb.const(val=value - zero)
    if not isinstance(zero, Var) and not zero.any():
        return value
    return mb.sub(x=value, y=zero)


def _int32(call: Call, index: int) -> Var | Array:
    if call.is_constant(index):
        return call.array(index, "operand").astype(np.int32)
    return number(call, index)
