"""GridSample and AffineGrid: an image read at the places that a grid names.

A coordinate g in -1..1 is, along an axis of `size` pixels, the place
  align_corners      (g + 1) / 2 * (size - 1)
  otherwise          ((g + 1) * size - 1) / 2
and is sampled from the pixels around it: nearest (half to even), linear (2 pixels per axis), cubic
(4 pixels per axis, Keys' kernel with a = -0.75). Outside the image there are, by `padding_mode`,
  zeros              zeros
  border             the pixels at the border; a place that is not sampled cubically is moved there,
                     which is the same (for cubic, ONNX Runtime and PyTorch do not move it)
  reflection         mirror images: place and pixels are mirrored at low = -0.5 and low + span =
                     size - 0.5 (with align_corners at 0 and size - 1) as often as needed: with
                     t = |x - low| mod 2 * span, x becomes low + min(t, 2 * span - t)
A place so far outside that no pixel of the image is near is as good as any other one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import CannotExpand, Expansion
from edgewise.graph.expand.sampling import (
    Tap,
    clip,
    columns,
    first_rows,
    is_between,
    linear_taps,
    pixel_table,
    sample,
    whole,
)

_CUBIC = -0.75
#: opset 16 has other names
_MODES = {"bilinear": "linear", "bicubic": "cubic"}
#: pixels around a place that the widest kernel reads
_REACH = 2


@dataclass(frozen=True, slots=True)
class _Sampler:
    """How places along an axis become taps."""

    mode: str
    padding: str
    align_corners: bool

    def place(self, e: Expansion, grid: ir.Value, size: int) -> ir.Value:
        scale, shift = (size / 2, (size - 1) / 2)
        if self.align_corners:
            scale = (size - 1) / 2
        scaled = e.op("Mul", grid, e.array(scale))
        found: ir.Value = e.op("Add", scaled, e.array(shift))
        return found

    def taps(self, e: Expansion, grid: ir.Value, size: int) -> list[Tap]:
        place = self.place(e, grid, size)
        if self.mode == "nearest":
            place = e.op("Round", place)
        place = self._moved(e, place, size)
        if self.mode == "nearest":
            inside = is_between(e, place, 0, size - 1) if self.padding == "zeros" else None
            return [Tap(whole(e, place, size), inside)]
        if self.mode == "linear":
            return linear_taps(e, place, size, zeros=self.padding == "zeros")
        return self._cubic_taps(e, place, size)

    def _moved(self, e: Expansion, place: ir.Value, size: int) -> ir.Value:
        if self.padding == "reflection":
            return self._reflected(e, place, size)
        if self.padding == "zeros" or self.mode == "cubic":
            return clip(e, place, -_REACH - 1, size + _REACH)
        return clip(e, place, 0, size - 1)

    def _reflected(self, e: Expansion, place: ir.Value, size: int) -> ir.Value:
        low, span = (0.0, size - 1.0) if self.align_corners else (-0.5, float(size))
        if span == 0:
            return clip(e, place, 0, 0)
        distance = e.op("Abs", e.op("Sub", place, e.array(low)))
        periods = e.op("Floor", e.op("Mul", distance, e.array(0.5 / span)))
        rest = e.op("Sub", distance, e.op("Mul", periods, e.array(2 * span)))
        mirrored = e.op("Min", rest, e.op("Sub", e.array(2 * span), rest))
        reflected: ir.Value = e.op("Add", mirrored, e.array(low))
        return reflected

    def _cubic_taps(self, e: Expansion, place: ir.Value, size: int) -> list[Tap]:
        low = e.op("Floor", place)
        share = e.op("Sub", place, low)
        taps = []
        for offset, weight in zip((-1, 0, 1, 2), _cubic_weights(e, share), strict=True):
            at = e.op("Add", low, e.array(float(offset)))
            if self.padding == "zeros":
                weight = e.op("Mul", weight, is_between(e, at, 0, size - 1))
            elif self.padding == "reflection":
                at = self._reflected(e, at, size)
            taps.append(Tap(whole(e, at, size), weight))
        return taps


def _cubic_weights(e: Expansion, share: ir.Value) -> list[ir.Value]:
    """Of the pixels at distance 1 + t, t, 1 - t and 2 - t."""
    rest = e.op("Sub", e.array(1.0), share)
    far = (_CUBIC, -5 * _CUBIC, 8 * _CUBIC, -4 * _CUBIC)
    near = (_CUBIC + 2, -(_CUBIC + 3), 0.0, 1.0)
    one = e.array(1.0)
    return [
        _polynomial(e, e.op("Add", share, one), far),
        _polynomial(e, share, near),
        _polynomial(e, rest, near),
        _polynomial(e, e.op("Add", rest, one), far),
    ]


def _polynomial(e: Expansion, x: ir.Value, coefficients: Sequence[float]) -> ir.Value:
    """Highest power first."""
    total = e.op("Mul", x, e.array(coefficients[0]))
    for coefficient in coefficients[1:-1]:
        if coefficient:
            total = e.op("Add", total, e.array(coefficient))
        total = e.op("Mul", total, x)
    result: ir.Value = e.op("Add", total, e.array(coefficients[-1]))
    return result


def expand_grid_sample(e: Expansion) -> Sequence[ir.Value | None]:
    if e.dtype() != np.float32 or e.dtype(1) != np.float32:
        raise CannotExpand(f"it samples {e.dtype()}", "Cast to float32 before.")
    mode, padding = str(e.attribute("mode", "linear")), str(e.attribute("padding_mode", "zeros"))
    mode = _MODES.get(mode, mode)
    sampler = _Sampler(mode, padding, bool(e.attribute("align_corners", 0)))
    batch, channels, *sizes = e.shape()
    places, rank = e.shape(1)[1:-1], len(sizes)
    samples = math.prod(places)
    points = e.reshape(e.input(1), [batch * samples, rank])
    grid = columns(e, points, rank, axis=1)[::-1]  # the last coordinate is that of the first axis
    table = pixel_table(e, e.input(0), e.shape())
    taps = [sampler.taps(e, column, size) for column, size in zip(grid, sizes, strict=True)]
    found = sample(e, table, taps, first_rows(e, table, batch, samples))
    image = e.reshape(found, [batch, *places, channels])
    return [e.transpose(image, [0, rank + 1, *range(1, rank + 1)])]


def expand_affine_grid(e: Expansion) -> Sequence[ir.Value | None]:
    """The corners of a regular grid, (x, y, 1) or (x, y, z, 1), times each matrix."""
    batch, _, *sizes = (int(size) for size in e.known(1, "size"))
    aligned = bool(e.attribute("align_corners", 0))
    if aligned and 1 in sizes:
        raise CannotExpand(
            "the only point of an axis has no place with align_corners", "Use align_corners=0."
        )
    axes = [_regular(size, aligned) for size in sizes]
    grid = np.meshgrid(*axes, indexing="ij")
    points = np.stack([*grid[::-1], np.ones(sizes)], axis=-1).reshape(-1, len(sizes) + 1)
    turned = e.transpose(e.input(0), [0, 2, 1])
    moved = e.op("MatMul", e.array(points.astype(e.dtype())), turned)
    return [e.reshape(moved, [batch, *sizes, len(sizes)])]


def _regular(size: int, aligned: bool) -> np.ndarray:
    """`size` points in -1..1: at both ends too when aligned, else in the middle of equal parts."""
    if aligned:
        return np.linspace(-1, 1, size)
    return (2 * np.arange(size) + 1) / size - 1
