"""Resampling of one axis as numbers: the indices or the matrix that turn an axis of `before`
elements into one of `after`.

Position `i` of the output lies, by the ONNX Resize specification, at
  half_pixel             (i + 0.5) / scale - 0.5
  half_pixel_symmetric   the same, plus before / 2 * (1 - after / (scale * before))
  pytorch_half_pixel     as half_pixel, 0 where the output has one element
  align_corners          i * (before - 1) / (after - 1)
  asymmetric             i / scale
  tf_crop_and_resize     start * (before - 1) + i * (end - start) * (before - 1) / (after - 1)
of the input, where (start, end) is the region of interest. A matrix has a row per output:
  nearest   one element, by one of four ways to round
  linear    max(1 - |d|, 0) of the two elements at distance d
  cubic     Keys' kernel of the four elements around it, with the coefficient `a`
With `antialias` and a scale below 1 the kernel is stretched by 1 / scale, over more elements, and
its weights are made to add up to 1. Weights that fall outside the input go to its first or last
element, or with `exclude_outside` to the others in proportion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

COORDINATES = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
    "tf_crop_and_resize",
)  # fmt: skip

#: a position is `before` times the error of a scale off the right one
_WHOLE = 1e-3

Kernel = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis to resample; `scale` is what the node says, which may differ from after / before."""

    axis: int
    before: int
    after: int
    scale: float
    region: tuple[float, float] = (0.0, 1.0)


def ambiguity(axis: Axis, coordinates: str) -> tuple[str, str] | None:
    """Why the specification's own tests and ONNX Runtime resample the axis differently, and what
    to do about it; None where they agree.

    Both of these coordinates divide by the output's length - 1, a fraction there and a whole
    number in ONNX Runtime, which ignores a region of interest along an axis whose size stays.
    """
    if coordinates not in ("align_corners", "tf_crop_and_resize"):
        return None
    if abs(axis.scale * axis.before - axis.after) > _WHOLE:
        return (
            f"{coordinates} with a scale that gives no whole size means different things",
            "Give sizes instead of scales.",
        )
    if axis.scale == 1.0:
        return (
            "a region of interest along an axis whose size stays means different things",
            "Slice the input, or change the size.",
        )
    return None


def positions(axis: Axis, coordinates: str) -> Array:
    """Where each output element lies on the input's axis; in float32, as ONNX Runtime has it,
    because `nearest` depends on how a position just between two elements is rounded."""
    index = np.arange(axis.after, dtype=np.float32)
    scale, half = np.float32(axis.scale), np.float32(0.5)
    last = np.float32(axis.before - 1)
    steps = np.float32(max(axis.after - 1, 1))
    found: Array = (index + half) / scale - half
    if coordinates == "align_corners":
        found = index * last / steps
    elif coordinates == "asymmetric":
        found = index / scale
    elif coordinates == "pytorch_half_pixel" and axis.after == 1:
        found = np.zeros(1, np.float32)
    elif coordinates == "half_pixel_symmetric":
        adjustment = np.float32(axis.after) / (scale * np.float32(axis.before))
        centre = np.float32(axis.before) / np.float32(2)
        found = centre * (np.float32(1) - adjustment) + (index + half) / scale - half
    elif coordinates == "tf_crop_and_resize":
        start, end = (np.float32(end) for end in axis.region)
        if axis.after > 1:
            found = start * last + index * (end - start) * last / steps
        else:
            found = np.array([half * (start + end) * last])
    return found


def outside(axis: Axis, where: Array) -> Array:
    """Which of the positions lie outside the input."""
    beyond: Array = (where < 0) | (where > axis.before - 1)
    return beyond


def nearest_indices(axis: Axis, where: Array, rounding: str) -> Array:
    if rounding == "floor":
        rounded = np.floor(where)
    elif rounding == "ceil":
        rounded = np.ceil(where)
    elif rounding == "round_prefer_ceil":
        rounded = np.floor(where + np.float32(0.5))
    else:
        rounded = np.ceil(where - np.float32(0.5))
    return np.clip(rounded, 0, axis.before - 1).astype(np.int64)


def linear_kernel(distance: Array) -> Array:
    weights: Array = np.maximum(1 - np.abs(distance), 0)
    return weights


def cubic_kernel(a: float) -> Kernel:
    """Keys' cubic convolution: two polynomials in |distance|, below 1 and below 2."""

    def kernel(distance: Array) -> Array:
        d = np.abs(distance)
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0.0))

    return kernel


def matrix(
    axis: Axis,
    where: Array,
    kernel: Kernel,
    reach: int,
    *,
    antialias: bool = False,
    exclude_outside: bool = False,
) -> Array:
    """Weights (after, before).

    Args:
        kernel: weight by distance, zero from `reach` on.
    """
    stretch = min(axis.scale, 1.0) if antialias else 1.0
    steps = int(np.ceil(reach / stretch))
    exact = where.astype(np.float64)
    taps = np.floor(exact).astype(np.int64)[:, None] + np.arange(-steps, steps + 1)
    weights = kernel((taps - exact[:, None]) * stretch)
    inside = (taps >= 0) & (taps < axis.before)
    if exclude_outside:
        weights = np.where(inside, weights, 0.0)
    if antialias or exclude_outside:
        weights = weights / weights.sum(axis=1, keepdims=True)
    found = np.zeros((axis.after, axis.before))
    rows = np.broadcast_to(np.arange(axis.after)[:, None], taps.shape)
    np.add.at(found, (rows, np.clip(taps, 0, axis.before - 1)), weights)
    return found
