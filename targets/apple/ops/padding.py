"""Pad in all four modes. Negative amounts crop; all else is about what is left then.

1. constant, floats, a known value     `pad`
2. constant, anything else             `concat` with blocks of the value, axis by axis
3. reflect, edge: floats, last two axes, amounts within MIL's limits   `pad`
4. wrap by at most the length          `concat` of slices
5. any other reflect, edge, wrap       repeated positions are picked, axis by axis
6. constant, with an axis of which nothing is left   blocks of the value alone
MIL's `pad` takes floats only, and integers would not be exact as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var, types
from edgewise.targets.apple.call import Array, Call, Operand, core_ml_array
from edgewise.targets.apple.ops.numbers import as_number
from edgewise.targets.apple.ops.picking import pick

#: before and after, for each axis
Amounts = list[tuple[int, int]]

_MIL_MODES = {"reflect": "reflect", "edge": "replicate"}
_MODES = ("constant", "reflect", "edge", "wrap")


def pad(call: Call) -> Operand:
    mode = call.attribute("mode", "constant")
    if mode not in _MODES:
        call.refuse(f"its mode is '{mode}'", f"Use one of {', '.join(_MODES)}.")
    x, amounts = as_number(call.var(0)), _amounts(call)
    if mode == "constant" and _leaves_nothing(x, amounts):  # case 6
        shape = [int(size) + sum(pair) for size, pair in zip(x.shape, amounts, strict=True)]
        return _full(x, shape, _fill(call))
    x, amounts = _cropped(call, x, amounts)
    if not any(max(pair) for pair in amounts):
        return x
    if mode == "constant":
        return _constant(call, x, amounts)
    if mode != "wrap" and _fits(x, amounts, mode):  # case 3
        return mb.pad(x=x, pad=_flat(amounts[-2:]), mode=_MIL_MODES[mode], name=call.name)
    for axis, (before, after) in enumerate(amounts):
        size = int(x.shape[axis])
        if mode == "wrap" and max(before, after) <= size:
            x = _wrapped(x, axis, before, after)
        elif before or after:
            x = pick(x, axis, _sources(np.arange(-before, size + after), size, mode))
    return x


def _amounts(call: Call) -> Amounts:
    rank, pads = call.rank(0), call.ints(1, "amounts")
    axes = [axis % rank for axis in call.ints(3, "axes")] if call.has(3) else list(range(rank))
    pairs = [(0, 0)] * rank
    for position, axis in enumerate(axes):
        pairs[axis] = pads[position], pads[position + len(axes)]
    return pairs


def _cropped(call: Call, x: Var, amounts: Amounts) -> tuple[Var, Amounts]:
    """The negative amounts applied, and those that are left."""
    begin = [max(-before, 0) for before, _ in amounts]
    end = [int(size) + min(after, 0) for size, (_, after) in zip(x.shape, amounts, strict=True)]
    if any(low >= high for low, high in zip(begin, end, strict=True)):
        call.refuse(
            "negative amounts of padding leave nothing of an axis", "Pad with fewer negative ones."
        )
    if min(min(pair) for pair in amounts) < 0:
        x = mb.slice_by_index(x=x, begin=begin, end=end)
    return x, [(max(before, 0), max(after, 0)) for before, after in amounts]


def _flat(amounts: Amounts) -> list[int]:
    return [amount for pair in amounts for amount in pair]


def _is_float(x: Var) -> bool:
    return x.dtype in (types.fp16, types.fp32)


# ---- constant


def _constant(call: Call, x: Var, amounts: Amounts) -> Var:
    """Cases 1 and 2."""
    fill = _fill(call)
    if _is_float(x) and not isinstance(fill, Var):
        value = np.float32(fill.reshape(-1)[0])
        return mb.pad(x=x, pad=_flat(amounts), mode="constant", constant_val=value, name=call.name)
    return pad_constant(x, amounts, fill)


def pad_constant(x: Var, amounts: Amounts, fill: Array | Var) -> Var:
    """Case 2."""
    for axis, (before, after) in enumerate(amounts):
        if before or after:
            parts = [_block(x, axis, size, fill) for size in (before, after)]
            values = [part for part in (parts[0], x, parts[1]) if part is not None]
            x = mb.concat(values=values, axis=axis)
    return x


def _fill(call: Call) -> Array | Var:
    if not call.has(2):
        return np.zeros((), np.float32)
    return call.array(2, "value") if call.is_constant(2) else call.var(2)


def _leaves_nothing(x: Var, amounts: Amounts) -> bool:
    """Whether exactly all of some axis is cropped. Of a length below nothing runtimes differ."""
    pairs = zip(x.shape, amounts, strict=True)
    return any(int(size) == -sum(min(amount, 0) for amount in pair) for size, pair in pairs)


def _block(x: Var, axis: int, size: int, fill: Array | Var) -> Var | None:
    """As `x`, but with `size` elements along the axis, all of them `fill`; None for no element."""
    if not size:
        return None
    shape = [size if other == axis else int(dim) for other, dim in enumerate(x.shape)]
    return _full(x, shape, fill)


def _full(x: Var, shape: Sequence[int], fill: Array | Var) -> Var:
    """Of the type of `x`."""
    if isinstance(fill, Var):
        return mb.tile(x=mb.reshape(x=as_number(fill), shape=[1] * x.rank), reps=list(shape))
    return mb.const(val=core_ml_array(np.full(shape, fill.reshape(-1)[0], _numpy_type(x))))


def _numpy_type(x: Var) -> Any:
    return types.nptype_from_builtin(x.dtype)


# ---- reflect, edge and wrap


def _fits(x: Var, amounts: Amounts, mode: str) -> bool:
    """Case 3: by less than the axis is long (reflect), or by at most its length (edge)."""
    if not _is_float(x) or any(max(pair) for pair in amounts[:-2]):
        return False
    slack = 1 if mode == "reflect" else 0
    return all(max(pair) <= int(size) - slack for pair, size in zip(amounts, x.shape, strict=True))


def _wrapped(x: Var, axis: int, before: int, after: int) -> Var:
    """Case 4."""
    size = int(x.shape[axis])
    parts: Sequence[Var] = [
        *([pick(x, axis, np.arange(size - before, size))] if before else []),
        x,
        *([pick(x, axis, np.arange(after))] if after else []),
    ]
    return mb.concat(values=parts, axis=axis) if len(parts) > 1 else x


def _sources(positions: Array, size: int, mode: str) -> Array:
    """Which element each position shows; reflection runs back and forth between both ends."""
    if mode == "edge":
        return np.clip(positions, 0, size - 1)
    if mode == "wrap":
        return positions % size
    period = max(2 * (size - 1), 1)
    phase = positions % period
    mirrored: Array = np.minimum(phase, period - phase)
    return mirrored
