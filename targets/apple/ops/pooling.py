"""Pooling over windows and over all spatial axes.

MIL's `ceil_mode` wants symmetric padding and differs between its backends, so it is never used: the
number of windows is computed here and the end padding is extended until `floor` gives it.
1. MaxPool: padding counts as minus infinity, extended or not.
2. AveragePool without `count_include_pad`: padding does not count, extended or not.
3. AveragePool with `count_include_pad`: the declared padding counts and the extension does not, so
   the declared padding becomes a `pad` of zeros in front of the pooling.
"""

from __future__ import annotations

import numpy as np

from edgewise.graph import resolve_pads
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple.call import Call, Operand
from edgewise.targets.apple.ops.convolution import padding


def max_pool(call: Call) -> Operand:
    if call.wants_output(1):
        call.refuse("Core ML gives no indices of the maxima", "Leave the indices unused.")
    kernel, strides, begin, end = _windows(call)
    return mb.max_pool(
        x=call.var(0),
        kernel_sizes=kernel,
        strides=strides,
        name=call.name,
        **padding(begin, end),
    )


def average_pool(call: Call) -> Operand:
    kernel, strides, begin, end = _windows(call)
    x = call.var(0)
    if call.attribute("count_include_pad", 0):  # case 3
        declared_begin, declared_end = _declared_pads(call, kernel, strides)
        pads = [0, 0, 0, 0] + [
            pad for pair in zip(declared_begin, declared_end, strict=True) for pad in pair
        ]
        if any(pads):
            x = mb.pad(x=x, pad=pads, mode="constant", constant_val=np.float32(0))
        begin = [0] * len(kernel)
        end = [total - declared for total, declared in zip(end, declared_end, strict=True)]
    return mb.avg_pool(
        x=x,
        kernel_sizes=kernel,
        strides=strides,
        exclude_padding_from_average=True,
        name=call.name,
        **padding(begin, end),
    )


def global_average_pool(call: Call) -> Operand:
    axes = list(range(2, call.rank(0)))
    return mb.reduce_mean(x=call.var(0), axes=axes, keep_dims=True, name=call.name)


def global_max_pool(call: Call) -> Operand:
    axes = list(range(2, call.rank(0)))
    return mb.reduce_max(x=call.var(0), axes=axes, keep_dims=True, name=call.name)


def _declared_pads(
    call: Call, kernel: list[int], strides: list[int]
) -> tuple[list[int], list[int]]:
    return resolve_pads(call.node, call.shape(0)[2:], kernel, strides, [1] * len(kernel))


def _windows(call: Call) -> tuple[list[int], list[int], list[int], list[int]]:
    """Kernel, strides, begin and end padding; the end is extended for `ceil_mode`, or cut where
    the last elements belong to no window (a surplus may not be negative padding)."""
    kernel = call.attribute("kernel_shape")
    rank = len(kernel)
    if any(step != 1 for step in call.attribute("dilations", [1] * rank)):
        call.refuse("Core ML has no dilated pooling", "Use a pooling without dilation.")
    strides = call.attribute("strides", [1] * rank)
    begin, end = _declared_pads(call, kernel, strides)
    if call.attribute("ceil_mode", 0):
        spatial = call.shape(0)[2:]
        for axis in range(rank):
            padded = spatial[axis] + begin[axis] + end[axis]
            steps = -(-(padded - kernel[axis]) // strides[axis])
            if steps * strides[axis] >= spatial[axis] + begin[axis]:
                steps -= 1  # the last window may not start in the end padding
            end[axis] += max(0, steps * strides[axis] + kernel[axis] - padded)
    return kernel, strides, begin, end
