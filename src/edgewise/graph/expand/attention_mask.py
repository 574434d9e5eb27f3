"""Which keys a query may attend to, as a bias that is added to the scores: 0 or -inf.

Sources, all of which must agree (ONNX operator Attention):
  1. attn_mask: booleans (true: attend), or floats that are added as they are. Its last axis may be
     short; keys beyond it are not attended to.
  2. is_causal: query i attends key j where j <= i + offset.
  3. left_window_size, right_window_size: offset + i - left <= j <= offset + i + right.
  4. nonpad_kv_seqlen: key j of a sample with n keys is attended to where j < n.
offset is the length of the past, or n - S where nonpad_kv_seqlen is given.

What is known in advance becomes one constant. A row that is -inf everywhere would make softmax
divide zero by zero, and ONNX wants zeros there: its bias is made finite, and a factor of 0 comes
with the mask that the result is to be multiplied by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import Array, CannotExpand, Expansion


@dataclass(frozen=True, slots=True)
class Mask:
    """Everything broadcasts to (batch, heads, queries, keys); None where nothing is to be done.

    `bias` is for the softmax; `exact` holds -inf in rows where `bias` may not; `valid` is 0 in
    those rows and 1 in others.
    """

    bias: ir.Value | None = None
    exact: ir.Value | None = None
    valid: ir.Value | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known in advance: where attention is allowed, and a bias."""

    allowed: Array
    bias: Array

    def total(self, dtype: Any) -> Array:
        bias = np.where(self.allowed, self.bias, -np.inf)
        return bias.astype(dtype)


def mask_of(e: Expansion, past: int) -> Mask:
    """The mask of an Attention node whose keys begin with `past` cached ones."""
    if not any((e.has(3), e.has(6), e.attribute("is_causal", 0), *_windows(e))):
        return Mask()
    queries, keys = e.size(-2, 0), past + e.size(-2, 1)
    allowed, bias = np.ones((), np.bool_), np.zeros((), np.float64)
    computed_flags: list[ir.Value] = []
    computed_bias: ir.Value | None = None
    if e.has(6):
        lengths = e.constant(6)
        if lengths is None:
            computed_flags.extend(_length_flags(e, queries, keys))
        else:
            counts = lengths.reshape(-1, 1, 1, 1)
            allowed = _frontier(e, queries, keys, counts - queries) & (np.arange(keys) < counts)
    else:
        allowed = _frontier(e, queries, keys, np.array(past))
    if e.has(3):
        given = e.constant(3)
        if given is not None and given.dtype == np.bool_:
            allowed = allowed & _padded(given, keys, False)
        elif given is not None:
            bias = _padded(given, keys, -np.inf).astype(np.float64)
        elif e.dtype(3) == np.bool_:
            computed_flags.append(_padded_value(e, keys))
        else:
            computed_bias = _padded_value(e, keys)
    known = _Known(allowed, bias)
    if not computed_flags and computed_bias is None:
        return _known_mask(e, known)
    return _computed_mask(e, known, computed_flags, computed_bias)


def _windows(e: Expansion) -> list[bool]:
    return [int(e.attribute(f"{side}_window_size", -1)) >= 0 for side in ("left", "right")]


def _frontier(e: Expansion, queries: int, keys: int, offset: Array) -> Array:
    """Sources 2 and 3 for known offsets, which broadcast to (..., queries, keys)."""
    behind = np.arange(queries)[:, None] + offset - np.arange(keys)
    low, high = _limits(e)
    return (behind >= low) & (behind <= high)


def _limits(e: Expansion) -> tuple[float, float]:
    """How far a key may lie behind the query: from, to. Negative numbers are ahead of it."""
    low, high = -np.inf, np.inf
    left, right = (int(e.attribute(f"{side}_window_size", -1)) for side in ("left", "right"))
    if e.attribute("is_causal", 0):
        low = 0
    if right >= 0:
        low = max(low, -right)
    if left >= 0:
        high = left
    return low, high


def _length_flags(e: Expansion, queries: int, keys: int) -> list[ir.Value]:
    """Sources 2, 3 and 4 for lengths that are computed.

    `behind >= low` with `behind = i + n - S - j` is `n >= low + S - i + j`.
    """
    lengths = e.reshape(e.input(6), [-1, 1, 1, 1])
    flags = [e.op("Less", e.array(np.arange(keys), np.int64), lengths)]
    distance = queries - np.arange(queries)[:, None] + np.arange(keys)
    low, high = _limits(e)
    if np.isfinite(low):
        flags.append(e.op("GreaterOrEqual", lengths, e.array(distance + int(low), np.int64)))
    if np.isfinite(high):
        flags.append(e.op("LessOrEqual", lengths, e.array(distance + int(high), np.int64)))
    return flags


def _padded(mask: Array, keys: int, filling: bool | float) -> Array:
    missing = keys - mask.shape[-1]
    if missing <= 0:
        return mask
    pads = [(0, 0)] * (mask.ndim - 1) + [(0, missing)]
    return np.pad(mask, pads, constant_values=filling)


def _padded_value(e: Expansion, keys: int) -> ir.Value:
    """Source 1 when it is computed; its missing end is joined on."""
    mask, shape = e.input(3), e.shape(3)
    missing = keys - shape[-1]
    if missing <= 0:
        return mask
    dtype = e.dtype(3)
    filling = np.full((*shape[:-1], missing), False if dtype == np.bool_ else -np.inf, dtype)
    joined: ir.Value = e.op("Concat", mask, e.array(filling, dtype), axis=-1)
    return joined


def _known_mask(e: Expansion, known: _Known) -> Mask:
    dtype = e.dtype()
    exact = known.total(dtype)
    if not exact.any():
        return Mask()
    closed = np.isneginf(exact).all(axis=-1, keepdims=True)
    if not closed.any():
        value = e.array(exact, dtype)
        return Mask(value, value)
    finite = np.where(closed, np.zeros((), dtype), exact)
    return Mask(
        e.array(finite, dtype) if finite.any() else None,
        e.array(exact, dtype),
        e.array(~closed, dtype),
    )


def _computed_mask(
    e: Expansion, known: _Known, flags: list[ir.Value], bias: ir.Value | None
) -> Mask:
    dtype = e.dtype()
    total = known.total(dtype)
    exact: ir.Value | None = bias
    if flags:
        allowed = flags[0]
        for flag in flags[1:]:
            allowed = e.op("And", allowed, flag)
        opened = e.op("Where", allowed, e.array(total, dtype), e.array(-np.inf, dtype))
        exact = opened if exact is None else e.op("Add", exact, opened)
    elif total.any():
        exact = e.op("Add", exact, e.array(total, dtype))
    if exact is None:
        raise CannotExpand("its mask is empty", "Export the model again.")
    # a bias may hold the lowest number itself in every place; that row is not closed
    best = e.reduce("ReduceMax", exact, [-1])
    valid = e.op("Cast", e.op("Greater", best, e.array(-np.inf, dtype)), to=_code(e))
    finite = e.op("Max", exact, e.array(np.finfo(dtype).min, dtype))
    return Mask(finite, exact, valid)


def _code(e: Expansion) -> int:
    dtype = e.input(0).dtype
    return int(ir.DataType.FLOAT if dtype is None else dtype)
