"""ScatterND, ScatterElements, Scatter and TensorScatter.

1. constant places, nothing combined   the new tensor is joined from slices of old and new rows, or
                                       gathered from both: operators that every unit computes
2. else                                MIL `scatter_nd`, whose definition takes one update after
                                       the other. Elements are rows of a flat tensor.
Of several updates for one place that are not combined, the last holds in case 1; ONNX leaves open
which one does.
"""

from __future__ import annotations

from math import prod

import numpy as np

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var, types
from edgewise.targets.apple.call import Call, Operand
from edgewise.targets.apple.ops.indices import IntArray, positions
from edgewise.targets.apple.ops.numbers import element_type, is_integer, wrapped
from edgewise.targets.apple.ops.storage import narrowed, widened

_MODES = {"none": "update", "add": "add", "mul": "mul", "max": "max", "min": "min"}


def scatter_nd(call: Call) -> Operand:
    shape, (*outer, depth) = call.shape(0), call.shape(1)
    indices = positions(call, 1, shape[:depth])
    if isinstance(indices, np.ndarray):
        places = tuple(np.moveaxis(indices.reshape(-1, depth), -1, 0))
        rows = np.ravel_multi_index(places, shape[:depth]) if depth else np.zeros(prod(outer))
        return _scatter(call, prod(shape[:depth]), rows.astype(np.int32))
    updates = widened(call.var(2))
    if not outer:
        indices = mb.expand_dims(x=indices, axes=[0])
        updates = mb.expand_dims(x=updates, axes=[0])
    y = _combined(call, widened(call.var(0)), indices, updates)
    return narrowed(y, call.var(0).dtype)


def scatter_elements(call: Call) -> Operand:
    """Every element is a row: `ids` tells which one of the flat tensor each update is for."""
    shape, wanted = call.shape(0), call.shape(1)
    axis = call.attribute("axis", 0) % len(shape)
    step = prod(shape[axis + 1 :])
    places = np.indices(wanted)
    base = sum(
        (places[a] * prod(shape[a + 1 :]) for a in range(len(shape)) if a != axis),
        start=np.zeros(wanted, np.int64),
    ).astype(np.int32)
    indices = positions(call, 1, shape[axis])
    if isinstance(indices, np.ndarray):
        return _scatter(call, prod(shape), (base + indices * step).reshape(-1))
    ids = mb.add(x=mb.mul(x=indices, y=np.int32(step)), y=base)
    return _scatter(call, prod(shape), mb.reshape(x=ids, shape=[base.size]))


def tensor_scatter(call: Call) -> Operand:
    """Updates of each batch go to the places of one axis from a given one on: rows are numbered
    over the axes up to that one. In circular mode places beyond the end start again."""
    shape = call.shape(0)
    axis = call.attribute("axis", -2) % len(shape)
    length = call.shape(1)[axis]
    circular = call.attribute("mode", "linear") == "circular"
    batch, size = shape[0], shape[axis]
    bases = (np.arange(prod(shape[:axis])).reshape(batch, -1, 1) * size).astype(np.int32)
    steps = np.arange(length, dtype=np.int32)
    rows = prod(shape[: axis + 1])
    if not call.has(2) or call.is_constant(2):
        starts = call.array(2, "indices") if call.has(2) else np.zeros(batch)
        places = starts.astype(np.int64).reshape(-1, 1, 1) + steps
        if not circular and (places >= size).any():
            call.refuse("it writes past the end of the cache", "Use a longer cache.")
        ids = (bases + places % size).astype(np.int32).reshape(-1)
        return _scatter(call, rows, ids, updates_index=1)
    starts = mb.reshape(x=call.var(2), shape=[batch, 1, 1])
    places = mb.add(x=starts, y=steps.reshape(1, 1, -1))
    if circular:
        places = mb.mod(x=places, y=np.int32(size))
    ids = mb.reshape(x=mb.add(x=places, y=bases), shape=[bases.size * length])
    return _scatter(call, rows, ids, updates_index=1)


def _scatter(call: Call, rows: int, ids: IntArray | Var, updates_index: int = 2) -> Operand:
    """Cases 1 and 2 for input 0 seen as that many rows, and one row of updates for each id."""
    shape, x = call.shape(0), call.var(0)
    inner = prod(shape) // rows
    data = mb.reshape(x=widened(x), shape=[rows, inner])
    updates = mb.reshape(x=widened(call.var(updates_index)), shape=[ids.shape[0], inner])
    if _mode(call) == "update" and isinstance(ids, np.ndarray):
        y = _replaced(data, updates, ids)
    else:
        indices = ids[:, None] if isinstance(ids, np.ndarray) else mb.expand_dims(x=ids, axes=[1])
        y = _combined(call, data, indices, updates)
    return narrowed(mb.reshape(x=y, shape=shape, name=call.name), x.dtype)


def _replaced(data: Var, updates: Var, ids: IntArray) -> Var:
    """Case 1."""
    rows, start, end = data.shape[0], int(ids[0]), int(ids[0]) + len(ids)
    if np.array_equal(ids, np.arange(start, end)):
        before = [_rows(data, 0, start)] if start else []
        after = [_rows(data, end, rows)] if end < rows else []
        parts = [*before, updates, *after]
        return parts[0] if len(parts) == 1 else mb.concat(values=parts, axis=0)
    sources = np.arange(rows, dtype=np.int32)
    for position, row in enumerate(ids):
        sources[row] = rows + position
    return mb.gather(x=mb.concat(values=[data, updates], axis=0), indices=sources, axis=0)


def _rows(table: Var, start: int, end: int) -> Var:
    return mb.slice_by_index(x=table, begin=[start, 0], end=[end, table.shape[1]])


def _mode(call: Call) -> str:
    reduction = call.attribute("reduction", "none")
    if reduction in ("add", "mul") and call.var(0).dtype == types.bool:
        call.refuse(f"booleans have no reduction '{reduction}'", "Cast to int32 before.")
    return _MODES[reduction]


def _combined(call: Call, data: Var, indices: IntArray | Var, updates: Var) -> Var:
    """Case 2; sums and products of narrow integers are brought back to their range."""
    mode, element = _mode(call), element_type(call, 0)
    y = mb.scatter_nd(data=data, indices=indices, updates=updates, mode=mode)
    return wrapped(y, element) if mode in ("add", "mul") and is_integer(element) else y
