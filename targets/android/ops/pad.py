"""Pad in all four modes. Negative amounts crop; all else is about what is left then.

1. constant           PAD (zero) or PADV2
2. reflect            MIRROR_PAD, which pads by less than the axis is long
3. edge, wrap, and reflect further out: GATHER with repeated indices, one axis after the other
PAD and PADV2 take five axes: of more, two at a time are padded, and neighbours between them merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import Value
from edgewise.targets.android.model import Array, Tensor
from edgewise.targets.android.ops.concat_split_slice import slice_value

_REFLECT = 0
_MAX_RANK = 5

Pair = tuple[int, int]


def pad_obstacle(call: Call) -> str | None:
    value = call.constant(2) if call.has(2) else np.zeros((), np.float32)
    if value is None:
        return "its fill value is computed"
    source = call.operand(0).quantization
    if source is None or call.attribute("mode", "constant") != "constant":
        return None
    low, high = source.real_range
    if not low - source.scale[0] / 2 <= float(value.reshape(())) <= high + source.scale[0] / 2:
        return "its fill value is outside the range of its input"
    return None


def lower_pad(call: Call) -> None:
    x = call.operand(0)
    amounts = _amounts(call, x.rank)
    mode = call.attribute("mode", "constant")
    crop = [max(-low, 0) for low, _ in amounts]
    size = [
        dim - cut - max(-high, 0)
        for dim, cut, (_, high) in zip(x.shape, crop, amounts, strict=True)
    ]
    if min(size) < 1:
        raise call.refuse(
            "negative amounts of padding leave nothing of an axis", "Pad with fewer negative ones."
        )
    x = slice_value(call, x, crop, size)
    amounts = [(max(low, 0), max(high, 0)) for low, high in amounts]
    if not any(max(pair) for pair in amounts):
        call.finish(x)
    elif mode == "constant":
        call.finish(_constant(call, x, amounts))
    elif mode in ("edge", "wrap", "reflect"):
        far = any(max(pair) >= dim for pair, dim in zip(amounts, size, strict=True))
        near = mode == "reflect" and not far
        call.finish(_mirrored(call, x, amounts) if near else _gather(call, x, amounts, mode))
    else:
        raise call.refuse(f"its mode is '{mode}'", "Use constant, reflect, edge or wrap.")


def _amounts(call: Call, rank: int) -> list[Pair]:
    """Padding before and after, per ONNX axis."""
    pads = [int(pad) for pad in call.known(1, "pads")]
    axes = [int(a) % rank for a in call.known(3, "axes")] if call.has(3) else list(range(rank))
    pairs = [(0, 0)] * rank
    for position, axis in enumerate(axes):
        pairs[axis] = pads[position], pads[position + len(axes)]
    return pairs


def _constant(call: Call, x: Value, amounts: Sequence[Pair]) -> Value:
    """Case 1."""
    fill = _fill(call, x)
    pairs = [amounts[axis] for axis in x.perm]
    if x.rank <= _MAX_RANK:
        return Value(_padded(call, x.tensor, pairs, fill), x.perm)
    tensor = x.tensor
    padded = [axis for axis, pair in enumerate(pairs) if any(pair)]
    for start in range(0, len(padded), 2):
        now = padded[start : start + 2]
        part = [pair if axis in now else (0, 0) for axis, pair in enumerate(pairs)]
        shape = [dim + sum(pair) for dim, pair in zip(tensor.shape, part, strict=True)]
        flat = call.builder.reshape(tensor, _merged(tensor.shape, part)[0])
        out = _padded(call, flat, _merged(tensor.shape, part)[1], fill)
        tensor = call.builder.reshape(out, shape)
    return Value(tensor, x.perm)


def _padded(call: Call, tensor: Tensor, pairs: Sequence[Pair], fill: Tensor | None) -> Tensor:
    shape = [dim + sum(pair) for dim, pair in zip(tensor.shape, pairs, strict=True)]
    inputs = [tensor, call.builder.constant(np.array(pairs, np.int32))]
    if fill is None:
        return call.builder.add("PAD", inputs, shape, tensor.dtype, tensor.quantization)
    return call.builder.add("PADV2", [*inputs, fill], shape, tensor.dtype, tensor.quantization)


def _merged(shape: Sequence[int], pairs: Sequence[Pair]) -> tuple[list[int], list[Pair]]:
    """Dims and amounts once neighbours that are not padded are one axis."""
    dims: list[int] = []
    merged: list[Pair] = []
    for dim, pair in zip(shape, pairs, strict=True):
        if merged and merged[-1] == pair == (0, 0):
            dims[-1] *= dim
        else:
            dims.append(dim)
            merged.append(pair)
    return dims, merged


def _fill(call: Call, x: Value) -> Tensor | None:
    """What to pad with; None for zero."""
    builder = call.builder
    if not call.has(2):
        return None
    if call.constant(2) is None:
        value = call.operand(2)
        return builder.reshape(value.tensor, (prod(value.shape),))
    fill: Array = call.known(2, "fill value").reshape(-1)[:1]
    if not fill.any():
        return None
    if x.quantization is not None:
        return builder.constant(x.quantization.quantize(fill), quantization=x.quantization)
    return builder.constant(fill.astype(x.dtype))


def _mirrored(call: Call, x: Value, amounts: Sequence[Pair]) -> Value:
    """Case 2."""
    pairs = call.builder.constant(np.array([amounts[axis] for axis in x.perm], np.int32))
    return call.write_like("MIRROR_PAD", [x, pairs], x, x.perm, mode=_REFLECT)


def _gather(call: Call, x: Value, amounts: Sequence[Pair], mode: str) -> Value:
    """Case 3."""
    for axis, (before, after) in enumerate(amounts):
        if before or after:
            dim = x.shape[axis]
            x = gather_axis(call, x, axis, _sources(np.arange(-before, dim + after), dim, mode))
    return x


def _sources(positions: Array, dim: int, mode: str) -> Array:
    """Which element each position shows; reflection runs back and forth between both ends."""
    if mode == "edge":
        return np.clip(positions, 0, dim - 1)
    if mode == "wrap":
        return positions % dim
    period = max(2 * (dim - 1), 1)
    phase = positions % period
    mirrored: Array = np.minimum(phase, period - phase)
    return mirrored


def gather_axis(call: Call, x: Value, axis: int, indices: Array) -> Value:
    """The elements at `indices` (one-dimensional) along an ONNX axis."""
    physical = x.axis(axis)
    shape = list(x.tensor.shape)
    shape[physical] = len(indices)
    tensor = call.builder.ints([int(i) for i in indices])
    return call.builder.like("GATHER", [x, tensor], x, shape=shape, axis=physical, batchDims=0)
