"""Windows of pools: several axes as planes, and dilation as rearranged elements.

1. A pool over any number of axes is a pool over two of them after the other: the maximum of
   maxima, the mean of means. Two neighbouring axes of (N, D, H, W, C) are height and width of
   (axes before, height, width, axes after), which is a reshape.
2. TFLite's pools have no dilation. The elements of each window, gathered side by side along their
   axis, are windows without dilation whose stride is the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from edgewise.targets.android.builder import Builder
from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import NHWC, Value
from edgewise.targets.android.model import Array
from edgewise.targets.android.ops.spatial import (
    Dims,
    Window,
    channels_last,
    needed_end,
    pad_image,
    read_window,
)


@dataclass(frozen=True, slots=True)
class Plane:
    """Two axes of a pool: sizes of input and output, and the window over them."""

    size: Dims
    output: Dims
    window: Window


def pool_window(call: Call) -> Window:
    """The node's window. Raises UnsupportedOperator where the shape of its output is not right."""
    window = read_window(call, call.attribute("kernel_shape"))
    if window.is_dilated and call.attribute("auto_pad", "NOTSET").startswith("SAME"):
        raise call.refuse(
            "auto_pad SAME with dilations has another shape in each runtime",
            "Export the model with explicit padding.",
        )
    sizes = zip(call.shape()[2:], call.output_shape()[2:], strict=True)
    for axis, (size, out) in enumerate(sizes):
        if _sticks_out(call, window, axis, size):
            raise call.refuse(
                "its window is larger than its input with the padding",
                "Use a smaller window or more padding.",
            )
        last = (out - 1) * window.strides[axis]
        if out > 1 and last >= size + window.begin[axis]:
            raise call.refuse(
                "its last window lies in the padding only", "Use ceil_mode=0 or less padding."
            )
    return window


def _sticks_out(call: Call, window: Window, axis: int, size: int) -> bool:
    """Where ONNX gives an empty output, and shape inference, which rounds to zero, one element."""
    if call.attribute("ceil_mode", 0) or call.attribute("auto_pad", "NOTSET").startswith("SAME"):
        return False
    return window.extent[axis] > size + window.begin[axis] + window.end[axis]


def planes(call: Call) -> list[Plane]:
    """Case 1: the passes of the node's pool."""
    window, before, after = pool_window(call), call.shape()[2:], call.output_shape()[2:]
    return [
        Plane(_sizes(before, axes), _sizes(after, axes), window.along(axes))
        for axes in _passes(window)
    ]


def pool_by_planes(call: Call, pool: Callable[[Value, Plane], Value]) -> Value:
    """Case 1: `pool` gets an NHWC image and a pass, and gives the pooled image."""
    builder, after = call.builder, call.output_shape()[2:]
    x = builder.reorder(call.operand(0), channels_last(len(call.shape())))
    for axes, plane in zip(_passes(pool_window(call)), planes(call), strict=True):
        shape = x.tensor.shape
        first, last = (axes[1] if axes[0] is None else axes[0]) + 1, axes[1] + 1
        lead, tail = math.prod(shape[:first]), math.prod(shape[last + 1 :])
        image = Value(builder.reshape(x.tensor, (lead, *plane.size, tail)), NHWC)
        pooled = pool(image, plane)
        out = (*shape[:first], *after[first - 1 : last], *shape[last + 1 :])
        x = Value(builder.reshape(pooled.tensor, out), x.perm)
    return x


def _passes(window: Window) -> Iterator[tuple[int | None, int]]:
    """Axes two by two from the last, without those along which nothing is pooled."""
    busy = [
        axis
        for axis in range(len(window.kernel))
        if window.kernel[axis] > 1 or window.strides[axis] > 1 or window.along((axis,)).is_padded
    ]
    while busy:
        last = busy.pop()
        yield (busy.pop() if busy and busy[-1] == last - 1 else None), last


def _sizes(shape: Dims, axes: tuple[int | None, int]) -> Dims:
    return tuple(1 if axis is None else shape[axis] for axis in axes)


def undilated(builder: Builder, x: Value, plane: Plane, fill: float | None) -> tuple[Value, Plane]:
    """Case 2; as it is where nothing is dilated. `fill` is what to pad with, None for zero."""
    window = plane.window
    if not window.is_dilated:
        return x, plane
    end = needed_end(window, plane.size, plane.output)
    if any(window.begin) or any(end):
        x = pad_image(builder, x, window.begin, end, fill)
    strides = list(window.strides)
    for axis in (0, 1):
        if window.kernel[axis] > 1 and window.dilations[axis] > 1:
            taps = window_elements(replace(window, begin=(0, 0)), axis, plane.output[axis])
            x = gather(builder, x, axis + 1, taps.reshape(-1))
            strides[axis] = window.kernel[axis]
    solid = Window(window.kernel, tuple(strides), (1, 1), (0, 0), (0, 0))
    return x, Plane(x.shape[2:], plane.output, solid)


def window_elements(window: Window, axis: int, output: int) -> Array:
    """Indices of the elements of each window along an axis (output, kernel); those in the padding
    lie outside 0..size-1."""
    starts = np.arange(output) * window.strides[axis] - window.begin[axis]
    taps: Array = starts[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
    return taps


def gather(builder: Builder, x: Value, axis: int, indices: Array) -> Value:
    """The elements at `indices` along a physical axis."""
    shape = list(x.tensor.shape)
    shape[axis] = len(indices)
    positions = builder.constant(indices.astype(np.int32))
    return builder.like("GATHER", [x, positions], x, shape=shape, axis=axis, batchDims=0)
