"""What convolutions and pools share: windows, padding, and one-dimensional images.

TFLite has two paddings: VALID (none) and SAME, whose total is
`max((ceil(in / stride) - 1) * stride + window - in, 0)` with the odd element at the end. PyTorch's
symmetric padding with stride 2 is not SAME. So SAME is used only where it is identical, and a PAD
operator precedes the window otherwise; elements at the end that no window reads are not padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgewise.graph import resolve_pads
from edgewise.targets.android.builder import Builder
from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import NHWC, NWC, Value

SAME, VALID = 0, 1

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window over height and width, as ONNX describes it."""

    kernel: Pair
    strides: Pair
    dilations: Pair
    begin: Pair
    end: Pair

    @property
    def extent(self) -> Pair:
        """Elements from the first to the last one that a window reads."""
        (kh, kw), (dh, dw) = self.kernel, self.dilations
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1


def read_window(call: Call, kernel: Sequence[int]) -> Window:
    """The window of a Conv or pool node; a one-dimensional one gets a height of 1."""
    rank = len(kernel)
    if rank not in (1, 2):
        raise call.refuse(
            f"it slides over {rank} dimensions; TFLite has 1 and 2", "Use a 2-D form of the layer."
        )
    strides = call.attribute("strides") or [1] * rank
    dilations = call.attribute("dilations") or [1] * rank
    begin, end = resolve_pads(call.node, call.shape()[2:], kernel, strides, dilations)
    return Window(
        _pair(kernel, 1), _pair(strides, 1), _pair(dilations, 1), _pair(begin, 0), _pair(end, 0)
    )


def _pair(numbers: Sequence[int], missing: int) -> Pair:
    height, width = [missing, *numbers][-2:]
    return int(height), int(width)


def image(builder: Builder, value: Value) -> Value:
    """The value in NHWC order; a rank-3 one (N, C, W) gets a height of 1."""
    if value.rank == 4:
        return builder.reorder(value, NHWC)
    flat = builder.reorder(value, NWC).tensor
    batch, width, channels = flat.shape
    return Value(builder.reshape(flat, (batch, 1, width, channels)), NHWC)


def from_image(builder: Builder, value: Value, rank: int) -> Value:
    """The inverse of `image`."""
    if rank == 4:
        return value
    batch, _, width, channels = value.tensor.shape
    return Value(builder.reshape(value.tensor, (batch, width, channels)), NWC)


def image_output_shape(call: Call) -> tuple[int, int, int, int]:
    """ONNX shape of the node's output, with a height of 1 where it has rank 3."""
    batch, channels, *spatial = call.output_shape()
    height, width = [1, *spatial][-2:]
    return batch, channels, height, width


def fit_padding(
    builder: Builder, x: Value, window: Window, output: Sequence[int], fill: float | None = None
) -> tuple[Value, int]:
    """The input, padded where needed, and the padding mode of the operator that reads it.

    Args:
        x: NHWC.
        output: height and width that come out.
        fill: what to pad with; None for zero.
    """
    window = replace(window, end=needed_end(window, x.shape[2:], output))
    if window.begin == (0, 0) and window.end == (0, 0):
        return x, VALID
    if is_same(window, x.shape[2:], output):
        return x, SAME
    return pad_image(builder, x, window.begin, window.end, fill), VALID


def needed_end(window: Window, spatial: Sequence[int], output: Sequence[int]) -> Pair:
    """Padding at the end that some window really reads."""
    height, width = (
        max((out - 1) * stride + extent - size - begin, 0)
        for out, stride, extent, size, begin in zip(
            output, window.strides, window.extent, spatial, window.begin, strict=True
        )
    )
    return height, width


def is_same(window: Window, spatial: Sequence[int], output: Sequence[int]) -> bool:
    """Whether TFLite's SAME pads exactly as `window` does."""
    for axis in (0, 1):
        size, stride = spatial[axis], window.strides[axis]
        total = max((-(-size // stride) - 1) * stride + window.extent[axis] - size, 0)
        if output[axis] != -(-size // stride):
            return False
        if (window.begin[axis], window.end[axis]) != (total // 2, total - total // 2):
            return False
    return True


def pad_image(
    builder: Builder, x: Value, begin: Sequence[int], end: Sequence[int], fill: float | None = None
) -> Value:
    """PAD (zero) or PADV2 of an NHWC value."""
    pads = np.array([[0, 0], [begin[0], end[0]], [begin[1], end[1]], [0, 0]], np.int32)
    shape = [dim + low + high for dim, (low, high) in zip(x.tensor.shape, pads, strict=True)]
    amounts = builder.constant(pads)
    if fill is None or _zero_is(x, fill):
        return builder.like("PAD", [x, amounts], x, shape=shape)
    if x.quantization is None:
        number = builder.constant(np.array([fill], np.float32))
    else:
        steps = x.quantization.quantize(np.array([fill], np.float32))
        number = builder.constant(steps, quantization=x.quantization)
    return builder.like("PADV2", [x, amounts, number], x, shape=shape)


def _zero_is(x: Value, fill: float) -> bool:
    """Whether PAD, which writes real zero, writes what `fill` saturates to."""
    if x.quantization is None:
        return fill == 0.0
    steps = x.quantization.quantize(np.array([fill], np.float32))
    return int(steps[0]) == int(x.quantization.zero_point[0])
