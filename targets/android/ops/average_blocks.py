"""Integer average pools whose windows at the border count fewer elements.

A pool without padding divides by its whole window, and rounding once and multiplying after it would
be off by several steps. But windows that are cut at the border count alike along
whole rows and columns: the output is a few blocks, each the exact integer average of a smaller
window over a part of the image. For a 3x3 window with padding 1 there are at most nine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from edgewise.targets.android.builder import Builder
from edgewise.targets.android.call import NO_ACTIVATION
from edgewise.targets.android.layout import NHWC, Value
from edgewise.targets.android.ops.pool_window import Plane
from edgewise.targets.android.ops.spatial import Window, pad_image

#: more blocks than this cost more than a float pool between two conversions
MOST_BLOCKS = 16

#: the mean over each window of an NHWC image, without padding
Mean = Callable[[Value, Plane], Value]


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring windows along one axis that count equally many elements: elements from `low`
    up to `high`, `kernel` for each of `count` windows."""

    low: int
    high: int
    kernel: int
    count: int


def count_blocks(plane: Plane, counts_pads: bool) -> int:
    plane = _with_pads(plane) if counts_pads else plane
    return len(_runs(plane, 0)) * len(_runs(plane, 1))


def average_blocks(
    builder: Builder, x: Value, plane: Plane, mean: Mean, counts_pads: bool
) -> Value:
    """The pooled NHWC image.

    Args:
        counts_pads: whether the explicit padding counts as elements.
    """
    if counts_pads:
        x = pad_image(builder, x, plane.window.begin, plane.window.end)
        plane = _with_pads(plane)
    rows = []
    for down in _runs(plane, 0):
        blocks = [_block(builder, x, plane, mean, down, across) for across in _runs(plane, 1)]
        rows.append(_join(builder, blocks, 2))
    return _join(builder, rows, 1)


def _with_pads(plane: Plane) -> Plane:
    """Padding as part of the image."""
    window = plane.window
    height, width = (
        size + low + high
        for size, low, high in zip(plane.size, window.begin, window.end, strict=True)
    )
    return Plane((height, width), plane.output, replace(window, begin=(0, 0), end=(0, 0)))


def _runs(plane: Plane, axis: int) -> list[_Run]:
    window, size = plane.window, plane.size[axis]
    stride, kernel = window.strides[axis], window.kernel[axis]
    found: list[_Run] = []
    for index in range(plane.output[axis]):
        start = index * stride - window.begin[axis]
        low, high = max(start, 0), min(start + kernel, size)
        last = found[-1] if found else None
        if last is not None and last.kernel == high - low and last.low + last.count * stride == low:
            found[-1] = replace(last, high=high, count=last.count + 1)
        else:
            found.append(_Run(low, high, high - low, 1))
    return found


def _block(builder: Builder, x: Value, plane: Plane, mean: Mean, down: _Run, across: _Run) -> Value:
    batch, channels = x.shape[:2]
    size = (batch, down.high - down.low, across.high - across.low, channels)
    if size != x.tensor.shape:
        begin = builder.ints([0, down.low, across.low, 0])
        x = builder.like("SLICE", [x, begin, builder.ints(size)], x, shape=size)
    window = Window((down.kernel, across.kernel), plane.window.strides, (1, 1), (0, 0), (0, 0))
    return mean(x, Plane(size[1:3], (down.count, across.count), window))


def _join(builder: Builder, parts: list[Value], axis: int) -> Value:
    """The parts one after the other along a physical axis."""
    first = parts[0]
    if len(parts) == 1:
        return first
    shape = list(first.tensor.shape)
    shape[axis] = sum(part.tensor.shape[axis] for part in parts)
    joined = builder.like(
        "CONCATENATION",
        parts,
        first,
        shape=shape,
        axis=axis,
        fusedActivationFunction=NO_ACTIVATION,
    )
    return Value(joined.tensor, NHWC)
