"""Operators that choose elements by a rule that is known in advance, or by one that is compared.

1. Trilu     `Where(mask, x, 0)`: it keeps infinities out, which a product with zeros would not; a
             computed diagonal `k` is compared with the constant `column - row`
2. EyeLike   a constant: only the shape of the input matters
3. Hardmax   OneHot of ArgMax, the first of equal elements
4. Compress  Gather at the places where the constant condition holds
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import CannotExpand, Expansion


def expand_trilu(e: Expansion) -> Sequence[ir.Value]:
    """Case 1: upper keeps what has `column - row >= k`, lower what has `column - row <= k`."""
    rows, columns = e.shape()[-2:]
    offsets = np.arange(columns)[None] - np.arange(rows)[:, None]
    upper = bool(e.attribute("upper", 1))
    zero = e.array(np.zeros((), e.dtype()))
    known = e.constant(1) if e.has(1) else np.zeros((), np.int64)
    if known is not None:
        k = int(known.reshape(()))
        mask = e.array(offsets >= k if upper else offsets <= k)
    else:
        comparison = "GreaterOrEqual" if upper else "LessOrEqual"
        mask = e.op(comparison, e.array(offsets, np.int64), e.input(1))
    return [e.op("Where", mask, e.input(0), zero)]


def expand_eye_like(e: Expansion) -> Sequence[ir.Value]:
    """Case 2."""
    rows, columns = e.shape()
    code = e.attribute("dtype")
    dtype = e.dtype() if code is None else ir.DataType(code).numpy()
    return [e.array(np.eye(rows, columns, int(e.attribute("k", 0)), dtype))]


def expand_hardmax(e: Expansion) -> Sequence[ir.Value]:
    """Case 3."""
    shape = e.shape()
    axis = int(e.attribute("axis", -1)) % len(shape)
    top = e.op("ArgMax", e.input(0), axis=axis, keepdims=0)
    values = e.array(np.array([0, 1], e.dtype()))
    return [e.op("OneHot", top, e.ints(shape[axis]), values, axis=axis)]


def expand_compress(e: Expansion) -> Sequence[ir.Value]:
    """Case 4. A condition shorter than the axis drops what lies behind it."""
    condition = e.constant(1)
    if condition is None:
        raise CannotExpand(
            "how many elements it keeps depends on the data, and every size must be known",
            "Make its condition constant, or leave that step to the app.",
        )
    axis = e.attribute("axis")
    x = e.input(0)
    if axis is None:
        x, axis = e.op("Reshape", x, e.ints([-1])), 0
    return [e.op("Gather", x, e.array(np.flatnonzero(condition)), axis=int(axis))]
