"""Unique: every element, or every slice along an axis, compared with every other one.

With R rows of C elements (C is 1 without an axis), same(r, s) where all elements are equal, and
less(r, s) where the first that differs is less in row r:
    is_first(r)  no s < r has same(r, s)
    count(r)     how many s have same(r, s)
    number(r)    how many s are first, and have less(s, r) if the result is to be sorted, else come
                 before the first row that is the same as r: the inverse indices
Sorted by `number`, the rows that are first come out in the order that is wanted; what is not first
is sorted behind them. How many there are is known once the model runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import Call, Operand
from edgewise.targets.apple.ops.dynamic import at_the_end, where_true
from edgewise.targets.apple.ops.storage import narrowed, widened

#: comparisons, each of them a number in memory
_MOST_COMPARISONS = 1 << 24


def unique(call: Call) -> Sequence[Operand]:
    for output in (0, 1, 3):
        at_the_end(call, "how many elements are unique is only known once the model runs", output)
    given, shape = call.var(0), call.shape(0)
    x, axis = widened(given), call.attribute("axis")
    if axis is None:
        x, axis, shape = mb.reshape(x=x, shape=[prod(shape)]), 0, (prod(shape),)
    axis %= len(shape)
    count = shape[axis]
    if count * prod(shape) > _MOST_COMPARISONS:
        call.refuse(f"it compares {count} slices with each other", "Leave that step to the app.")
    perm = [axis, *(at for at in range(len(shape)) if at != axis)]
    rows = mb.reshape(x=mb.transpose(x=x, perm=perm), shape=[count, prod(shape) // count])
    same, less = _compared(rows)
    order = np.arange(count, dtype=np.int32)
    earlier = np.tril(np.ones((count, count), np.int32), -1)
    is_first = mb.less(x=_sum(mb.mul(x=same, y=earlier)), y=np.int32(1))
    if call.attribute("sorted", 1):
        before = less
    else:
        backwards = mb.reduce_max(x=mb.mul(x=same, y=count - order), axes=[1], keep_dims=True)
        before = mb.cast(
            x=mb.less(x=order, y=mb.sub(x=np.int32(count), y=backwards)), dtype="int32"
        )
    number = _sum(mb.mul(x=before, y=mb.cast(x=is_first, dtype="int32")))
    keys = mb.select(cond=is_first, a=number, b=count + order)
    ordered, places = mb.topk(x=keys, k=count, axis=0, ascending=True)
    found = mb.gather(x=places, indices=where_true(mb.less(x=ordered, y=np.int32(count))), axis=0)
    values = narrowed(mb.gather(x=x, indices=found, axis=axis), given.dtype)
    return [values, found, number, mb.gather(x=_sum(same), indices=found, axis=0)]


def _compared(rows: Var) -> tuple[Var, Var]:
    """Element (r, s): 1 where row s is the same as row r, and where it is less."""
    one, other = mb.expand_dims(x=rows, axes=[1]), mb.expand_dims(x=rows, axes=[0])
    differs = mb.cast(x=mb.not_equal(x=one, y=other), dtype="int32")
    any_differs = mb.reduce_max(x=differs, axes=[2], keep_dims=False)
    same = mb.sub(x=np.int32(1), y=any_differs)
    up_to = mb.cumsum(x=differs, axis=2)
    decides = mb.logical_and(
        x=mb.equal(x=mb.mul(x=differs, y=up_to), y=np.int32(1)), y=mb.less(x=other, y=one)
    )
    return same, mb.reduce_max(x=mb.cast(x=decides, dtype="int32"), axes=[2], keep_dims=False)


def _sum(x: Var) -> Var:
    return mb.reduce_sum(x=x, axes=[1], keep_dims=False)
