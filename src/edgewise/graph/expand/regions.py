"""RoiAlign and MaxRoiPool: parts of an image brought to one size.

RoiAlign, of R regions in PH x PW bins, samples each bin at S x S points:
  start = corner * spatial_scale - offset,          extent = end - start (at least 1 with offset 0)
  place of point k along an axis = start + extent / bins * (k + 0.5) / S,        k < bins * S
with offset 0.5 for half_pixel, 0 for output_half_pixel. A point beyond -1..size counts as zero; the
others are clipped to the image and read linearly. The points of a bin are averaged; with mode
`max` the largest of all their weighted pixels is taken, as ONNX Runtime and the specification's
reference have it.

MaxRoiPool takes, along each axis, the elements from floor(b * extent / bins) + start up to
ceil((b + 1) * extent / bins) + start for bin b, where start and end are rounded, half away from
zero, and extent = max(end - start + 1, 1). A bin without elements gives 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import CannotExpand, Expansion
from edgewise.graph.expand.sampling import (
    Tap,
    clip,
    columns,
    is_between,
    linear_taps,
    pixel_table,
    weighted_pixels,
)

_LOWEST = float(np.finfo(np.float32).min)


def expand_roi_align(e: Expansion) -> Sequence[ir.Value | None]:
    if e.dtype() != np.float32:
        raise CannotExpand(f"it samples {e.dtype()}", "Cast to float32 before.")
    points = int(e.attribute("sampling_ratio", 0))
    if points <= 0:
        raise CannotExpand(
            "with sampling_ratio 0 the number of points depends on the regions",
            "Set sampling_ratio, for example to 2.",
        )
    _, channels, height, width = e.shape()
    regions = e.size(0, 1)
    bins = int(e.attribute("output_height", 1)), int(e.attribute("output_width", 1))
    left, top, right, bottom = columns(e, e.input(1), 4, axis=1)
    down = _points(e, (top, bottom), bins[0], points)
    across = _points(e, (left, right), bins[1], points)
    shape = [regions, bins[0] * points, bins[1] * points]
    taps = [
        _inside_taps(e, e.reshape(down, [regions, shape[1], 1]), height),
        _inside_taps(e, e.reshape(across, [regions, 1, shape[2]]), width),
    ]
    images = e.op("Cast", e.input(2), to=ir.DataType.INT32)
    first = e.op("Mul", images, e.array(height * width, np.int32))
    table = pixel_table(e, e.input(0), e.shape())
    parts = weighted_pixels(e, table, taps, e.reshape(first, [regions, 1, 1]))
    mean = str(e.attribute("mode", "avg")).lower() == "avg"
    total = parts[0]
    for part in parts[1:]:
        total = e.op("Add" if mean else "Max", total, part)
    image = e.transpose(e.reshape(total, [*shape, channels]), [0, 3, 1, 2])
    window = [points, points]
    return [e.op("AveragePool" if mean else "MaxPool", image, kernel_shape=window, strides=window)]


def _points(e: Expansion, corners: tuple[ir.Value, ir.Value], bins: int, points: int) -> ir.Value:
    """Places of all points along one axis (regions, bins * points)."""
    shifted = str(e.attribute("coordinate_transformation_mode", "half_pixel")) == "half_pixel"
    scale = e.array(float(e.attribute("spatial_scale", 1.0)))
    start, end = (e.op("Mul", corner, scale) for corner in corners)
    if shifted:
        start, end = (e.op("Sub", place, e.array(0.5)) for place in (start, end))
    extent = e.op("Sub", end, start)
    if not shifted:
        extent = e.op("Max", extent, e.array(1.0))
    shares = (np.arange(bins * points) + 0.5) / (bins * points)
    places: ir.Value = e.op("Add", e.op("Mul", extent, e.array(shares[None])), start)
    return places


def _inside_taps(e: Expansion, place: ir.Value, size: int) -> list[Tap]:
    """Places beyond -1..size count as zero, the others are clipped to the image."""
    valid = is_between(e, place, -1, size)
    taps = linear_taps(e, clip(e, place, 0, size - 1), size, zeros=False)
    return [Tap(tap.index, e.op("Mul", tap.weight, valid)) for tap in taps]


def expand_max_roi_pool(e: Expansion) -> Sequence[ir.Value | None]:
    if e.dtype() != np.float32:
        raise CannotExpand(f"it pools {e.dtype()}", "Cast to float32 before.")
    _, _, height, width = e.shape()
    regions, (bins_h, bins_w) = e.size(0, 1), e.attribute("pooled_shape")
    image, left, top, right, bottom = columns(e, e.input(1), 5, axis=1)
    index = e.reshape(e.op("Cast", image, to=ir.DataType.INT32), [regions])
    parts = e.op("Gather", e.input(0), index, axis=0)  # (regions, C, H, W)
    lowest = e.array(_LOWEST)
    for axis, size, bins, corners in (
        (2, height, int(bins_h), (top, bottom)),
        (3, width, int(bins_w), (left, right)),
    ):
        found = []
        for low, high in _bins(e, corners, size, bins):
            inside = _between(e, low, high, size, axis)
            found.append(e.reduce("ReduceMax", e.op("Where", inside, parts, lowest), [axis]))
        parts = found[0] if len(found) == 1 else e.op("Concat", *found, axis=axis)
    empty = e.op("Equal", parts, lowest)
    return [e.op("Where", empty, e.array(0.0), parts)]


def _bins(
    e: Expansion, corners: tuple[ir.Value, ir.Value], size: int, bins: int
) -> list[tuple[ir.Value, ir.Value]]:
    """First element of each bin, and the one after its last, as floats (regions, 1)."""
    scale = e.array(float(e.attribute("spatial_scale", 1.0)))
    start, end = (_rounded(e, e.op("Mul", corner, scale)) for corner in corners)
    extent = e.op("Max", e.op("Add", e.op("Sub", end, start), e.array(1.0)), e.array(1.0))
    step = e.op("Div", extent, e.array(float(bins)))
    found = []
    for index in range(bins):
        low = e.op("Floor", e.op("Mul", step, e.array(float(index))))
        high = e.op("Ceil", e.op("Mul", step, e.array(float(index + 1))))
        ends = (e.op("Add", place, start) for place in (low, high))
        low, high = (clip(e, place, 0, size) for place in ends)
        found.append((low, high))
    return found


def _rounded(e: Expansion, x: ir.Value) -> ir.Value:
    """Half away from zero."""
    size = e.op("Floor", e.op("Add", e.op("Abs", x), e.array(0.5)))
    rounded: ir.Value = e.op("Mul", size, e.op("Sign", x))
    return rounded


def _between(e: Expansion, low: ir.Value, high: ir.Value, size: int, axis: int) -> ir.Value:
    """Whether each element along an axis of (regions, C, H, W) lies in the bin."""
    places = e.array(np.arange(size, dtype=np.float32)[None])
    after = e.op("GreaterOrEqual", places, low)
    inside = e.op("And", after, e.op("Less", places, high))
    dims = [1] * 4
    dims[axis] = size
    return e.reshape(inside, [-1, *dims[1:]])
