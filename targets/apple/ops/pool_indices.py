"""MaxPool whose indices are used.

Core ML's pool gives no indices. One axis after the other, from the last, the elements of each
window are compared in order; a later one wins only where it is greater, so of equal elements the
first in row-major order is found, as in ONNX Runtime. Beside the greatest element goes its offset
in the image: along each axis,

    offset = offset of the winner along the axes after it + its position * step of the axis

with row-major steps, or column-major ones for storage_order 1. An element in the padding is
replaced by another one of its window: it cannot be greater. In the end the offset of the image
itself, (n * C + c) * elements, is added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import Array, Call
from edgewise.targets.apple.ops.picking import pick
from edgewise.targets.apple.ops.pool_window import Taps, WindowAxis

#: computed, or a constant that broadcasts as long as nothing was compared
Offsets: TypeAlias = Var | Array


def max_pool_with_indices(call: Call, x: Var, axes: Sequence[WindowAxis]) -> tuple[Var, Var]:
    """The greatest elements and their offsets, the latter int32."""
    shape = call.shape(0)
    if math.prod(shape) > np.iinfo(np.int32).max:
        call.refuse("its indices do not fit int32", "Pool smaller images.")
    steps = _steps(shape[2:], column_major=bool(call.attribute("storage_order", 0)))
    best: Var = x
    offsets: Offsets = np.zeros([1] * len(shape), np.int32)
    for position, axis in reversed(list(enumerate(axes))):
        best, offsets = _along_axis(best, offsets, position + 2, inside(axis), steps[position])
    images = np.arange(shape[0] * shape[1], dtype=np.int32) * np.int32(math.prod(shape[2:]))
    offsets = _add(offsets, images.reshape(*shape[:2], *[1] * len(axes)))
    if isinstance(offsets, Var):
        return best, offsets
    return best, mb.const(val=np.broadcast_to(offsets, best.shape).copy())


def inside(axis: WindowAxis) -> Taps:
    """Positions (windows, kernel), those in the padding replaced by the first one in the image."""
    taps = axis.taps()
    valid = (taps >= 0) & (taps < axis.size)
    first = taps[np.arange(len(taps)), valid.argmax(axis=1)]
    return np.where(valid, taps, first[:, None])


def _steps(spatial: Sequence[int], *, column_major: bool) -> list[int]:
    if column_major:
        return [math.prod(spatial[:axis]) for axis in range(len(spatial))]
    return [math.prod(spatial[axis + 1 :]) for axis in range(len(spatial))]


def _along_axis(
    elements: Var, offsets: Offsets, axis: int, taps: Taps, step: int
) -> tuple[Var, Offsets]:
    def offset(tap: Taps) -> Offsets:
        along = (tap * step).astype(np.int32).reshape(-1, *[1] * (elements.rank - axis - 1))
        return _add(pick(offsets, axis, tap) if isinstance(offsets, Var) else offsets, along)

    best, found = pick(elements, axis, taps[:, 0]), offset(taps[:, 0])
    for tap in taps.T[1:]:
        other = pick(elements, axis, tap)
        found = _choose(mb.greater(x=other, y=best), offset(tap), found)
        best = mb.maximum(x=best, y=other)
    return best, found


def _add(offsets: Offsets, constant: Array) -> Offsets:
    if isinstance(offsets, Var):
        return mb.add(x=offsets, y=constant) if constant.any() else offsets
    return offsets + constant


def _choose(condition: Var, yes: Offsets, no: Offsets) -> Var:
    """MIL `select` has the shape of its two values, so two constants are chosen by arithmetic."""
    if isinstance(yes, Var) or isinstance(no, Var):
        return mb.select(cond=condition, a=yes, b=no)
    return mb.add(x=mb.mul(x=mb.cast(x=condition, dtype="int32"), y=yes - no), y=no)
