"""Pad in all four modes.

1. constant    PAD (zero) or PADV2; negative amounts are sliced off first
2. reflect     MIRROR_PAD
3. edge, wrap  GATHER with repeated indices, one axis after the other
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import Value
from edgewise.targets.android.ops.concat_split_slice import slice_value

_REFLECT = 0


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
    begin, end = _amounts(call, x.rank)
    mode = call.attribute("mode", "constant")
    if mode in ("edge", "wrap"):
        call.finish(_gather(call, x, begin, end, mode))
        return
    crop_begin = [max(-low, 0) for low in begin]
    size = [
        dim - low - max(-high, 0) for dim, low, high in zip(x.shape, crop_begin, end, strict=True)
    ]
    x = slice_value(call, x, crop_begin, size)
    pairs = np.array([[max(begin[a], 0), max(end[a], 0)] for a in x.perm], np.int32)
    if not pairs.any():
        call.finish(x)
        return
    amounts = call.builder.constant(pairs)
    if mode == "reflect":
        call.finish(call.write_like("MIRROR_PAD", [x, amounts], x, x.perm, mode=_REFLECT))
    elif mode == "constant":
        call.finish(_constant(call, x, amounts=pairs))
    else:
        raise call.refuse(f"its mode is '{mode}'", "Use constant, reflect, edge or wrap.")


def _amounts(call: Call, rank: int) -> tuple[list[int], list[int]]:
    """Padding before and after, per ONNX axis."""
    pads = [int(pad) for pad in call.known(1, "pads")]
    axes = [int(a) % rank for a in call.known(3, "axes")] if call.has(3) else list(range(rank))
    begin, end = [0] * rank, [0] * rank
    for position, axis in enumerate(axes):
        begin[axis], end[axis] = pads[position], pads[position + len(axes)]
    return begin, end


def _constant(call: Call, x: Value, amounts: np.ndarray) -> Value:
    """Case 1."""
    builder = call.builder
    fill = call.known(2, "fill value").reshape(-1)[:1] if call.has(2) else np.zeros(1, x.dtype)
    pads = builder.constant(amounts)
    if not fill.any():
        return call.write_like("PAD", [x, pads], x, x.perm)
    if x.quantization is not None:
        number = builder.constant(x.quantization.quantize(fill), quantization=x.quantization)
    else:
        number = builder.constant(fill.astype(x.dtype))
    return call.write_like("PADV2", [x, pads, number], x, x.perm)


def _gather(call: Call, x: Value, begin: list[int], end: list[int], mode: str) -> Value:
    """Case 3."""
    for axis in range(x.rank):
        if not begin[axis] and not end[axis]:
            continue
        positions = np.arange(-begin[axis], x.shape[axis] + end[axis])
        dim = x.shape[axis]
        indices = np.clip(positions, 0, dim - 1) if mode == "edge" else positions % dim
        x = gather_axis(call, x, axis, indices)
    return x


def gather_axis(call: Call, x: Value, axis: int, indices: np.ndarray) -> Value:
    """The elements at `indices` (one-dimensional) along an ONNX axis."""
    physical = x.axis(axis)
    shape = list(x.tensor.shape)
    shape[physical] = len(indices)
    tensor = call.builder.ints([int(i) for i in indices])
    return call.builder.like("GATHER", [x, tensor], x, shape=shape, axis=physical, batchDims=0)
