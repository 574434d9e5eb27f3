"""MaxPool whose indices are used.

TFLite's pool gives no indices. One axis after the other, from the last, the elements of each
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
from dataclasses import dataclass

import numpy as np

from edgewise.targets.android.builder import INT32, Builder
from edgewise.targets.android.call import NO_ACTIVATION, Call
from edgewise.targets.android.layout import Value, identity
from edgewise.targets.android.model import Array, Tensor
from edgewise.targets.android.ops.pool_window import gather, pool_window, window_elements
from edgewise.targets.android.ops.spatial import channels_last

_BOOL = np.dtype(np.bool_)
_INT64 = np.dtype(np.int64)


@dataclass(frozen=True, slots=True)
class _Winners:
    """The greatest elements so far and their offsets, both of rank 3: axes before the one at hand,
    that axis, and axes after it. No offsets yet before the first axis."""

    elements: Tensor
    offsets: Tensor | None


def lower_max_pool_with_indices(call: Call) -> None:
    builder, window = call.builder, pool_window(call)
    x = builder.reorder(call.operand(0), channels_last(len(call.shape())))
    before, after = call.shape()[2:], call.output_shape()[2:]
    if math.prod(call.shape()) > np.iinfo(np.int32).max:
        raise call.refuse("its indices do not fit int32", "Pool smaller images.")
    steps = _steps(before, column_major=bool(call.attribute("storage_order", 0)))
    shape = list(x.tensor.shape)
    winners = _Winners(_comparable(builder, x.tensor), None)
    for axis in reversed(range(len(before))):
        taps = _inside(call, window_elements(window, axis, after[axis]), before[axis])
        flat = (math.prod(shape[: axis + 1]), shape[axis + 1], math.prod(shape[axis + 2 :]))
        winners = _along_axis(builder, winners, flat, taps, steps[axis])
        shape[axis + 1] = after[axis]
    elements = winners.elements
    if elements.dtype != x.dtype:
        elements = builder.add("CAST", [elements], elements.shape, x.dtype, x.quantization)
    call.finish(Value(builder.reshape(elements, shape), x.perm))
    offsets = Value(builder.reshape(_offsets(winners), shape), x.perm)
    call.finish(_with_images(call, offsets), 1)


def _comparable(builder: Builder, x: Tensor) -> Tensor:
    """GREATER of 8 bits rounds both sides to their scale times 256, equal ones too where that is
    small, and aborts at a scale of 0 or 1 (LiteRT 2.3)."""
    if x.dtype.itemsize > 1:
        return x
    return builder.add("CAST", [x], x.shape, INT32)


def _offsets(winners: _Winners) -> Tensor:
    assert winners.offsets is not None  # a pool has at least one axis
    return winners.offsets


def _steps(spatial: tuple[int, ...], *, column_major: bool) -> list[int]:
    if column_major:
        return [math.prod(spatial[:axis]) for axis in range(len(spatial))]
    return [math.prod(spatial[axis + 1 :]) for axis in range(len(spatial))]


def _inside(call: Call, taps: Array, size: int) -> Array:
    """Indices (output, kernel), those in the padding replaced by the first one in the image."""
    valid = (taps >= 0) & (taps < size)
    if not valid.any(axis=1).all():
        raise call.refuse("a window lies in the padding only", "Use less padding.")
    first = taps[np.arange(len(taps)), valid.argmax(axis=1)]
    return np.where(valid, taps, first[:, None])


def _along_axis(
    builder: Builder, winners: _Winners, flat: tuple[int, int, int], taps: Array, step: int
) -> _Winners:
    elements = Value(builder.reshape(winners.elements, flat), identity(3))
    offsets = winners.offsets
    carried = None if offsets is None else Value(builder.reshape(offsets, flat), identity(3))
    best = gather(builder, elements, 1, taps[:, 0])
    shape = best.tensor.shape
    found = _tap_offsets(builder, carried, taps[:, 0], step, shape)
    if taps.shape[1] == 1 and found.data is not None:
        found = builder.constant(np.broadcast_to(found.data, shape).copy())
    for tap in taps.T[1:]:
        other = gather(builder, elements, 1, tap)
        theirs = _tap_offsets(builder, carried, tap, step, shape)
        greater = builder.add("GREATER", [other, best], shape, _BOOL)
        found = builder.add("SELECT_V2", [greater, theirs, found], shape, INT32)
        best = builder.like("MAXIMUM", [best, other], best)
    return _Winners(best.tensor, found)


def _tap_offsets(
    builder: Builder, carried: Value | None, tap: Array, step: int, shape: tuple[int, ...]
) -> Tensor:
    """Offsets of the elements at `tap`, of a shape that broadcasts."""
    along = (tap * step).astype(np.int32).reshape(1, -1, 1)
    if carried is None:
        return builder.constant(along)
    gathered = gather(builder, carried, 1, tap)
    if not along.any():
        return gathered.tensor
    operands = [gathered.tensor, builder.constant(along)]
    return builder.add("ADD", operands, shape, INT32, fusedActivationFunction=NO_ACTIVATION)


def _with_images(call: Call, offsets: Value) -> Value:
    """The offsets of the images added, as int64."""
    builder = call.builder
    batch, channels, *spatial = call.shape()
    size = math.prod(spatial)
    images = np.arange(batch * channels, dtype=np.int32).reshape(batch, channels) * np.int32(size)
    shape = (batch, *(1,) * len(spatial), channels)
    dims = [call.output_shape()[axis] for axis in offsets.perm]
    total = offsets.tensor
    if images.any():
        operands = [total, builder.constant(images.reshape(shape))]
        total = builder.add("ADD", operands, dims, INT32, fusedActivationFunction=NO_ACTIVATION)
    return Value(builder.add("CAST", [total], dims, _INT64), offsets.perm)
