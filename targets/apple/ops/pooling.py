"""MaxPool, AveragePool, GlobalMaxPool and GlobalAveragePool over one to three spatial axes.

MIL's `ceil_mode` wants symmetric padding and differs between its backends, so it is never used: the
end padding is extended until rounding down gives all windows (see `pool_window`).
MaxPool, whose padding never counts:
1. no dilation: `max_pool`;
2. dilation: the elements of each window, picked side by side along their axis, are windows without
   dilation whose stride is the kernel; one axis after the other, for a maximum of maxima;
3. the indices are used: see `pool_indices`.
AveragePool:
4. no dilation, padding does not count: `avg_pool` that excludes it;
5. no dilation, padding counts: `avg_pool` that includes it. What `ceil_mode` adds at the end never
   counts; where there is any, the declared padding becomes a `pad` of zeros in front;
6. dilation: a depthwise convolution with 1 / kernel, times kernel / counted where they differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var, types
from edgewise.targets.apple.call import Array, Call, Operand, named
from edgewise.targets.apple.ops.convolution import padding
from edgewise.targets.apple.ops.picking import pick
from edgewise.targets.apple.ops.pool_indices import inside, max_pool_with_indices
from edgewise.targets.apple.ops.pool_window import WindowAxis, window_axes

_FLOATS = (types.fp16, types.fp32)


def max_pool(call: Call) -> Operand | Sequence[Operand]:
    """Cases 1 to 3. Integers of 8 bits are whole in fp16, too."""
    axes = window_axes(call)
    given = call.var(0)
    x = given if given.dtype in _FLOATS else mb.cast(x=given, dtype="fp32")
    if call.wants_output(1):
        pooled, indices = max_pool_with_indices(call, x, axes)
        return [_as(given, pooled), indices]
    name = call.name if x is given else None
    return _as(given, _maximum(x, axes, name), call.name)


def _as(given: Var, pooled: Var, name: str | None = None) -> Var:
    if given.dtype in _FLOATS:
        return pooled
    return mb.cast(x=pooled, dtype=types.builtin_to_string(given.dtype), **named(name))


def _maximum(x: Var, axes: Sequence[WindowAxis], name: str | None) -> Var:
    kernel, strides = [axis.kernel for axis in axes], [axis.stride for axis in axes]
    begin, end = [axis.begin for axis in axes], [axis.full_end for axis in axes]
    for position, axis in enumerate(axes):  # case 2
        if axis.is_dilated:
            alone = [axis.kernel if other == position else 1 for other in range(len(axes))]
            x = pick(x, position + 2, inside(axis).reshape(-1))
            x = mb.max_pool(x=x, kernel_sizes=alone, strides=alone, pad_type="valid")
            kernel[position] = strides[position] = 1
            begin[position] = end[position] = 0
    if all(axis.is_dilated or axis.is_trivial for axis in axes) and any(
        axis.is_dilated for axis in axes
    ):
        return x
    return mb.max_pool(
        x=x, kernel_sizes=kernel, strides=strides, **named(name), **padding(begin, end)
    )


def average_pool(call: Call) -> Operand:
    """Cases 4 to 6."""
    axes, x = window_axes(call), call.var(0)
    count_pads = bool(call.attribute("count_include_pad", 0))
    if any(axis.is_dilated for axis in axes):
        return _dilated_average(call, x, axes, count_pads)
    begin, end = [axis.begin for axis in axes], [axis.full_end for axis in axes]
    if count_pads and any(axis.full_end != axis.end for axis in axes):  # case 5
        pairs = [amount for axis in axes for amount in (axis.begin, axis.end)]
        if any(pairs):
            x = mb.pad(x=x, pad=[0, 0, 0, 0, *pairs], mode="constant", constant_val=np.float32(0))
        begin = [0] * len(axes)
        end = [axis.full_end - axis.end for axis in axes]
        count_pads = False
    return mb.avg_pool(
        x=x,
        kernel_sizes=[axis.kernel for axis in axes],
        strides=[axis.stride for axis in axes],
        exclude_padding_from_average=not count_pads,
        name=call.name,
        **padding(begin, end),
    )


def _dilated_average(call: Call, x: Var, axes: Sequence[WindowAxis], count_pads: bool) -> Var:
    """Case 6."""
    kernel, channels = [axis.kernel for axis in axes], call.shape(0)[1]
    correction = _correction(axes, count_pads)
    corrected = bool((correction != 1).any())
    mean = mb.conv(
        x=x,
        weight=np.full((channels, 1, *kernel), 1 / prod(kernel), np.float32),
        strides=[axis.stride for axis in axes],
        dilations=[axis.dilation for axis in axes],
        groups=channels,
        **named(None if corrected else call.name),
        **padding([axis.begin for axis in axes], [axis.full_end for axis in axes]),
    )
    return mb.mul(x=mean, y=correction, name=call.name) if corrected else mean


def _correction(axes: Sequence[WindowAxis], count_pads: bool) -> Array:
    """`elements of the kernel / counted elements` of each window, (1, 1, *windows)."""
    factors = np.ones((1, 1))
    for axis in axes:
        counted = axis.counted(with_padding=count_pads)
        factors = np.multiply.outer(factors, axis.kernel / counted)
    return factors.astype(np.float32)


def global_average_pool(call: Call) -> Operand:
    axes = list(range(2, call.rank(0)))
    if not axes:
        return call.operand(0)
    return mb.reduce_mean(x=call.var(0), axes=axes, keep_dims=True, name=call.name)


def global_max_pool(call: Call) -> Operand:
    axes = list(range(2, call.rank(0)))
    if not axes:
        return call.operand(0)
    return mb.reduce_max(x=call.var(0), axes=axes, keep_dims=True, name=call.name)
