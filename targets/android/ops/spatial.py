"""What convolutions and pools share: windows, padding, and images of other ranks than four.

TFLite's kernels slide over the height and width of NHWC images. Here
  1. (N, C, W) is an image of height 1;
  2. (N, C, D, H, W) is a stack of images, see `volume`.
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
from edgewise.targets.android.layout import NHWC, NWC, Perm, Value

SAME, VALID = 0, 1

Dims = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window over any number of axes, as ONNX describes it."""

    kernel: Dims
    strides: Dims
    dilations: Dims
    begin: Dims
    end: Dims

    @property
    def extent(self) -> Dims:
        """Elements from the first to the last one that a window reads."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def is_padded(self) -> bool:
        return any(self.begin) or any(self.end)

    @property
    def is_dilated(self) -> bool:
        return any(k > 1 and d > 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def along(self, axes: Sequence[int | None]) -> Window:
        """The window over those of its axes; one element for None, an axis that is not there."""
        parts = [(self.kernel, 1), (self.strides, 1), (self.dilations, 1)]
        parts += [(self.begin, 0), (self.end, 0)]
        chosen = [tuple(none if a is None else part[a] for a in axes) for part, none in parts]
        return Window(*chosen)


def read_window(call: Call, kernel: Sequence[int]) -> Window:
    """The window of a Conv or pool node."""
    rank = len(kernel)
    strides = call.attribute("strides") or [1] * rank
    dilations = call.attribute("dilations") or [1] * rank
    begin, end = resolve_pads(call.node, call.shape()[2:], kernel, strides, dilations)
    if min([*begin, *end]) < 0:
        raise call.refuse("its padding is negative", "Slice the input instead.")
    return Window(
        tuple(map(int, kernel)), tuple(strides), tuple(dilations), tuple(begin), tuple(end)
    )


def planar(window: Window) -> Window:
    """A window over height and width from one over one or two axes."""
    return window.along((None, 0)) if len(window.kernel) == 1 else window


def channels_last(rank: int) -> Perm:
    return (0, *range(2, rank), 1)


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
        window: over height and width.
        output: height and width that come out.
        fill: what to pad with; None for zero.
    """
    window = replace(window, end=needed_end(window, x.shape[2:], output))
    if not window.is_padded:
        return x, VALID
    if is_same(window, x.shape[2:], output):
        return x, SAME
    return pad_image(builder, x, window.begin, window.end, fill), VALID


def needed_end(window: Window, spatial: Sequence[int], output: Sequence[int]) -> Dims:
    """Padding at the end that some window really reads."""
    return tuple(
        max((out - 1) * stride + extent - size - begin, 0)
        for out, stride, extent, size, begin in zip(
            output, window.strides, window.extent, spatial, window.begin, strict=True
        )
    )


def is_same(window: Window, spatial: Sequence[int], output: Sequence[int]) -> bool:
    """Whether TFLite's SAME pads exactly as `window` does."""
    for axis, size in enumerate(spatial):
        stride = window.strides[axis]
        total = max((-(-size // stride) - 1) * stride + window.extent[axis] - size, 0)
        if output[axis] != -(-size // stride):
            return False
        if (window.begin[axis], window.end[axis]) != (total // 2, total - total // 2):
            return False
    return True


def pad_image(
    builder: Builder, x: Value, begin: Sequence[int], end: Sequence[int], fill: float | None = None
) -> Value:
    """PAD (zero) or PADV2 of height and width of an NHWC value.

    What `fill` saturates to is written where the dtype does not reach it.
    """
    pads = np.array([[0, 0], [begin[0], end[0]], [begin[1], end[1]], [0, 0]], np.int32)
    shape = [dim + low + high for dim, (low, high) in zip(x.tensor.shape, pads, strict=True)]
    amounts = builder.constant(pads)
    number = _fill(x, 0.0 if fill is None else fill)
    zero = 0 if x.quantization is None else int(x.quantization.zero_point[0])
    if int(number[0]) == zero and not number[0] % 1:
        return builder.like("PAD", [x, amounts], x, shape=shape)
    filling = builder.constant(number, quantization=x.quantization)
    return builder.like("PADV2", [x, amounts, filling], x, shape=shape)


def _fill(x: Value, fill: float) -> np.ndarray:
    """The number to pad with, as the tensor stores it."""
    if x.quantization is not None:
        return x.quantization.quantize(np.array([fill], np.float32))
    if x.dtype.kind in "iu":
        limits = np.iinfo(x.dtype)
        return np.array([min(max(fill, limits.min), limits.max)]).astype(x.dtype)
    return np.array([fill], x.dtype)
