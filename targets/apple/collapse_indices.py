"""Picking and writing elements by positions in tensors of more than five axes.

1. GatherElements    on every axis but one, indices start at 0: what they do not reach there is cut
                     off, then (before, axis, after) are three axes
2. ScatterElements   (before, axis, after) where the indices reach as far as the data elsewhere;
                     else all is flat: `position = index * stride + what the other axes add`
3. GatherND,         the axes that a tuple of indices selects from are one: the positions are sums
   ScatterND         of `index * stride`, to which each batch in front adds an offset of its own
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.graph.expand import CannotExpand, Expansion
from edgewise.targets.apple.collapse import Dims, around

Positions = npt.NDArray[np.int64]


def gather_elements(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 1."""
    shape, reached = e.shape(), e.shape(1)
    axis = int(e.attribute("axis", 0)) % len(shape)
    data = e.input(0)
    cut = [a for a, size in enumerate(shape) if a != axis and reached[a] < size]
    if cut:
        ends = [reached[a] for a in cut]
        data = e.op("Slice", data, e.ints([0] * len(cut)), e.ints(ends), e.ints(cut))
    parts = [
        around(e, value, dims, axis)
        for value, dims in (
            (data, [*reached[:axis], shape[axis], *reached[axis + 1 :]]),
            (e.input(1), reached),
        )
    ]
    return [e.reshape(e.op("GatherElements", *parts, axis=1), reached)]


def scatter_elements(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 2."""
    shape, reached = e.shape(), e.shape(1)
    axis = int(e.attribute("axis", 0)) % len(shape)
    how = {"reduction": e.attribute("reduction", "none")}
    data, indices, updates = (e.input(index) for index in range(3))
    if all(reached[a] == size for a, size in enumerate(shape) if a != axis):
        parts = [
            around(e, value, dims, axis)
            for value, dims in ((data, shape), (indices, reached), (updates, reached))
        ]
        return [e.reshape(e.op("ScatterElements", *parts, axis=1, **how), shape)]
    stride = prod(shape[axis + 1 :])
    others = np.ravel_multi_index(np.indices(reached), shape)
    others -= np.indices(reached)[axis] * stride
    known = e.constant(1)
    if known is not None:
        positions = e.ints((known % shape[axis] * stride + others).reshape(-1).tolist())
    else:
        flat = _not_negative(e, e.reshape(indices, [-1]), shape[axis])
        scaled = e.op("Mul", flat, e.array(stride, e.dtype(1)))
        positions = e.op("Add", scaled, e.array(others.reshape(-1), e.dtype(1)))
    parts = [e.reshape(data, [-1]), positions, e.reshape(updates, [-1])]
    return [e.reshape(e.op("ScatterElements", *parts, axis=0, **how), shape)]


def gather_nd(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 3."""
    shape, tuples = e.shape(), e.shape(1)
    batch = int(e.attribute("batch_dims", 0))
    selected = shape[batch : batch + tuples[-1]]
    rest = shape[batch + tuples[-1] :]
    batches = np.arange(prod(shape[:batch]), dtype=np.int64) * prod(selected)
    offsets = np.repeat(batches, prod(tuples[batch:-1]))
    rows = e.reshape(e.input(0), [prod(shape[: batch + tuples[-1]]), prod(rest)])
    found = e.op("Gather", rows, _positions(e, selected, offsets), axis=0)
    return [e.reshape(found, [*tuples[:-1], *rest])]


def scatter_nd(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 3."""
    shape, tuples = e.shape(), e.shape(1)
    selected, rest = shape[: tuples[-1]], shape[tuples[-1] :]
    count = prod(tuples[:-1])
    rows = e.reshape(e.input(0), [prod(selected), prod(rest)])
    positions = _positions(e, selected, np.zeros(count, np.int64))
    updates = e.reshape(e.input(2), [count, prod(rest)])
    how = {"reduction": e.attribute("reduction", "none")}
    written = e.op("ScatterND", rows, e.reshape(positions, [count, 1]), updates, **how)
    return [e.reshape(written, shape)]


def _positions(e: Expansion, selected: Dims, offsets: Positions) -> ir.Value:
    """Along the selected axes as one, one for each tuple of indices (input 1)."""
    if not selected:
        raise CannotExpand(
            "it has more than 5 axes, and tuples of no index", "Give the tuples an index."
        )
    strides = np.array([prod(selected[a + 1 :]) for a in range(len(selected))], np.int64)
    known = e.constant(1)
    if known is not None:
        tuples = known.reshape(-1, len(selected)) % np.array(selected)
        return e.ints((tuples @ strides + offsets).tolist())
    columns = e.reshape(e.input(1), [-1, len(selected)])
    scaled = e.op("Mul", _not_negative(e, columns, selected), e.array(strides, e.dtype(1)))
    summed = e.op("ReduceSum", scaled, e.ints([1]), keepdims=0)
    if offsets.any():
        summed = e.op("Add", summed, e.array(offsets, e.dtype(1)))
    positions: ir.Value = summed
    return positions


def _not_negative(e: Expansion, indices: ir.Value, size: int | Dims) -> ir.Value:
    """Counted from the start: negative ones count from the end."""
    zero, sizes = e.array(0, e.dtype(1)), e.array(size, e.dtype(1))
    from_start: ir.Value = e.op(
        "Where", e.op("Less", indices, zero), e.op("Add", indices, sizes), indices
    )
    return from_start
