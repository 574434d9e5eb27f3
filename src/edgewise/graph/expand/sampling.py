"""Reading an image at computed places, for GridSample, RoiAlign and DeformConv.

The image (N, C, D1, ..., Dr) is read as a table with one row of channels per pixel; the place of a
sample is a column of floats per axis. A sample is a weighted sum of pixels at whole places around
it: per axis a few taps, each a whole place and a weight, and over all axes their products. So

    sample = sum over taps (weight_1 * ... * weight_r) * table[((n * D1 + i_1) * D2 + i_2) ...]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import Expansion


@dataclass(frozen=True, slots=True)
class Tap:
    """A whole place along one axis as int32, inside the image, and its weight; None for 1."""

    index: ir.Value
    weight: ir.Value | None


@dataclass(frozen=True, slots=True)
class Table:
    """Pixels of an image as rows; `sizes` are those of its spatial axes."""

    rows: ir.Value
    sizes: tuple[int, ...]


def pixel_table(e: Expansion, image: ir.Value, shape: Sequence[int]) -> Table:
    batch, channels, *sizes = shape
    last = e.transpose(image, [0, *range(2, len(shape)), 1])
    return Table(e.reshape(last, [batch * math.prod(sizes), channels]), tuple(sizes))


def sample(e: Expansion, table: Table, taps: Sequence[Sequence[Tap]], first: ir.Value) -> ir.Value:
    """The samples (samples, channels).

    Args:
        taps: of each spatial axis.
        first: row of the first pixel of each sample's image, int32.
    """
    parts = weighted_pixels(e, table, taps, first)
    total = parts[0]
    for part in parts[1:]:
        total = e.op("Add", total, part)
    return total


def weighted_pixels(
    e: Expansion, table: Table, taps: Sequence[Sequence[Tap]], first: ir.Value
) -> list[ir.Value]:
    """The terms of `sample`. Taps may have any shapes that broadcast, first axis first."""
    parts = []
    for corner in product(*taps):
        rows = e.reshape(_row(e, table, corner, first), [-1])
        part = e.op("Gather", table.rows, rows, axis=0)
        weight = _product(e, [tap.weight for tap in corner if tap.weight is not None])
        parts.append(part if weight is None else e.op("Mul", part, e.reshape(weight, [-1, 1])))
    return parts


def _row(e: Expansion, table: Table, corner: Sequence[Tap], first: ir.Value) -> ir.Value:
    """Rows of the pixels at whole places, int32."""
    offset = corner[0].index
    for tap, size in zip(corner[1:], table.sizes[1:], strict=True):
        offset = e.op("Add", e.op("Mul", offset, e.array(size, np.int32)), tap.index)
    rows: ir.Value = e.op("Add", offset, first)
    return rows


def _product(e: Expansion, weights: Sequence[ir.Value]) -> ir.Value | None:
    total: ir.Value | None = None
    for weight in weights:
        total = weight if total is None else e.op("Mul", total, weight)
    return total


def columns(e: Expansion, values: ir.Value, count: int, axis: int) -> list[ir.Value]:
    """The elements along an axis of `count`, which stays with size 1. Slices are folded where the
    values are constant."""
    return [
        e.op("Slice", values, e.ints([index]), e.ints([index + 1]), e.ints([axis]))
        for index in range(count)
    ]


def first_rows(e: Expansion, table: Table, batch: int, samples: int) -> ir.Value:
    """Row of the first pixel of each sample's image: `samples` of each image, one below another."""
    starts = np.arange(batch, dtype=np.int32) * math.prod(table.sizes)
    return e.array(np.repeat(starts, samples)[:, None], np.int32)


def whole(e: Expansion, place: ir.Value, size: int) -> ir.Value:
    """Floats that are whole numbers as int32 between 0 and size - 1."""
    index: ir.Value = e.op("Cast", clip(e, place, 0, size - 1), to=ir.DataType.INT32)
    return index


def clip(e: Expansion, value: ir.Value, low: float, high: float) -> ir.Value:
    dtype = np.dtype(np.float32)
    clipped: ir.Value = e.op("Clip", value, e.array(low, dtype), e.array(high, dtype))
    return clipped


def is_between(e: Expansion, place: ir.Value, low: float, high: float) -> ir.Value:
    """1.0 where a place lies between both, else 0.0."""
    same = e.op("Equal", place, clip(e, place, low, high))
    inside: ir.Value = e.op("Cast", same, to=ir.DataType.FLOAT)
    return inside


def linear_taps(e: Expansion, place: ir.Value, size: int, *, zeros: bool) -> list[Tap]:
    """The two pixels around each place; those outside the image count as zero, or as the nearest
    one inside."""
    low = e.op("Floor", place)
    share = e.op("Sub", place, low)
    rest = e.op("Sub", e.array(1.0), share)
    places = [(low, rest), (e.op("Add", low, e.array(1.0)), share)]
    taps = []
    for at, weight in places:
        if zeros:
            weight = e.op("Mul", weight, is_between(e, at, 0, size - 1))
        taps.append(Tap(whole(e, at, size), weight))
    return taps
