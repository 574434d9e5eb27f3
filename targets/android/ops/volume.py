"""Volumes (N, C, D, H, W) with channels last, as stacks of images that 2-D kernels take.

A window that slides over depth reads, for each output depth, a few whole images. Laid side by side
in the channels they make one image, and the sum over the depth of the window becomes part of the
sum over channels: a 3-D convolution is one 2-D convolution, exact in int8 as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgewise.targets.android.builder import Builder
from edgewise.targets.android.call import NO_ACTIVATION
from edgewise.targets.android.layout import NHWC, Value
from edgewise.targets.android.model import Tensor
from edgewise.targets.android.ops.spatial import channels_last

NDHWC = channels_last(5)
_DEPTH = 1


def pad_depth(builder: Builder, x: Value, begin: int, end: int) -> Value:
    """Zeros before and after in depth; negative amounts cut off."""
    if begin < 0 or end < 0:
        cut = x.tensor.shape[_DEPTH] + min(begin, 0) + min(end, 0)
        x = Value(_slice(builder, x.tensor, -min(begin, 0), 1, cut), NDHWC)
    pads = np.zeros((5, 2), np.int32)
    pads[_DEPTH] = max(begin, 0), max(end, 0)
    if not pads.any():
        return x
    shape = list(x.tensor.shape)
    shape[_DEPTH] += int(pads[_DEPTH].sum())
    return builder.like("PAD", [x, builder.constant(pads)], x, shape=shape)


def stuff_depth(builder: Builder, x: Value, stride: int) -> Value:
    """`stride - 1` zeros after each element in depth."""
    if stride == 1:
        return x
    batch, depth, height, width, channels = x.tensor.shape
    rows = builder.reshape(x.tensor, (batch * depth, 1, height * width * channels))
    pads = builder.constant(np.array([[0, 0], [0, stride - 1], [0, 0]], np.int32))
    flat = Value(rows, (0, 1, 2))
    wide = builder.like("PAD", [flat, pads], flat, shape=(rows.shape[0], stride, rows.shape[2]))
    shape = (batch, depth * stride, height, width, channels)
    return Value(builder.reshape(wide.tensor, shape), NDHWC)


def stack_taps(
    builder: Builder, x: Value, groups: int, starts: Sequence[int], stride: int, count: int
) -> Value:
    """Images that hold several depths of a volume side by side in their channels.

    Image `i` of (N * count, H, W) holds, for each group of channels, the depths
    `starts[0] + i * stride`, `starts[1] + i * stride`, ..., channels of the group innermost.
    """
    batch, depth, height, width, channels = x.tensor.shape
    inner = channels // groups
    flat = builder.reshape(x.tensor, (batch, depth, height * width, groups, inner))
    taps = [_slice(builder, flat, start, stride, count) for start in starts]
    stacked = taps[0]
    if len(taps) > 1:
        stacked = builder.add(
            "CONCATENATION",
            taps,
            (*stacked.shape[:-1], inner * len(taps)),
            flat.dtype,
            flat.quantization,
            axis=len(stacked.shape) - 1,
            fusedActivationFunction=NO_ACTIVATION,
        )
    shape = (batch * count, height, width, channels * len(taps))
    return Value(builder.reshape(stacked, shape), NHWC)


def unstack(builder: Builder, images: Value, batch: int) -> Value:
    """Images (N * D, H, W) as volumes."""
    count, height, width, channels = images.tensor.shape
    shape = (batch, count // batch, height, width, channels)
    return Value(builder.reshape(images.tensor, shape), NDHWC)


def _slice(builder: Builder, x: Tensor, start: int, stride: int, count: int) -> Tensor:
    """Every `stride`-th of the elements in depth, `count` of them."""
    if start == 0 and stride == 1 and count == x.shape[_DEPTH]:
        return x
    rank = len(x.shape)
    begin, size, steps = [0] * rank, list(x.shape), [1] * rank
    begin[_DEPTH], size[_DEPTH] = start, count
    if stride == 1:
        operands = [x, builder.ints(begin), builder.ints(size)]
        return builder.add("SLICE", operands, size, x.dtype, x.quantization)
    end = list(x.shape)
    steps[_DEPTH], end[_DEPTH] = stride, start + (count - 1) * stride + 1
    return builder.add(
        "STRIDED_SLICE",
        [x, builder.ints(begin), builder.ints(end), builder.ints(steps)],
        size,
        x.dtype,
        x.quantization,
        beginMask=0,
        endMask=0,
        ellipsisMask=0,
        newAxisMask=0,
        shrinkAxisMask=0,
    )
