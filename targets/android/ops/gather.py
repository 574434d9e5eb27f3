"""Gather, GatherElements and GatherND.

1. Gather          GATHER along the axis where it lies in memory; the axes of the indices take its
                   place there
2. GatherElements  every row along the axis is read through a row of indices: GATHER with all other
                   axes as its batch
3. GatherND        constant indices: GATHER of whole rows, their numbers known now
                   one computed coordinate: GATHER of rows as well
                   else GATHER_ND, with the batch as leading coordinates
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import Value, identity
from edgewise.targets.android.model import Array, Tensor
from edgewise.targets.android.ops.concat_split_slice import slice_value
from edgewise.targets.android.ops.indices import constant_indices, indices_of


def lower_gather(call: Call) -> None:
    """Case 1."""
    x = call.operand(0)
    axis = int(call.attribute("axis", 0)) % x.rank
    indices = indices_of(call, 1, x.shape[axis])
    added = indices.rank - 1
    perm: list[int] = []
    for old in x.perm:
        if old == axis:
            perm.extend(range(axis, axis + indices.rank))
        else:
            perm.append(old if old < axis else old + added)
    physical = x.axis(axis)
    y = call.write_like("GATHER", [x, indices], x, tuple(perm), axis=physical, batchDims=0)
    call.finish(y)


def lower_gather_elements(call: Call) -> None:
    """Case 2. The indices may be shorter than the data along any axis but that one."""
    x = call.operand(0)
    axis = int(call.attribute("axis", 0)) % x.rank
    shape = call.shape(1)
    kept = [x.shape[a] if a == axis else shape[a] for a in range(x.rank)]
    perm = (*(a for a in x.perm if a != axis), axis)
    x = call.builder.reorder(slice_value(call, x, [0] * x.rank, kept), perm)
    indices = indices_of(call, 1, x.shape[axis], perm)
    last = x.rank - 1
    call.finish(call.write_like("GATHER", [x, indices], x, perm, axis=last, batchDims=last))


def lower_gather_nd(call: Call) -> None:
    """Case 3."""
    x = call.builder.linear(call.operand(0))
    batch = int(call.attribute("batch_dims", 0))
    depth = call.shape(1)[-1]
    sizes = x.shape[batch : batch + depth]
    known = constant_indices(call, 1, sizes)
    rank = len(call.output_shape())
    if known is not None:
        rows = row_numbers(_with_batch(known, batch), x.shape)
        _gather_rows(call, x, call.builder.constant(rows), batch + depth)
        return
    indices = indices_of(call, 1, sizes)
    if batch == 0 and depth == 1:
        flat = call.builder.reshape(indices.tensor, indices.shape[:-1])
        _gather_rows(call, x, flat, 1)
        return
    if batch:
        indices = _batched(call, indices, batch)
    call.finish(call.write_like("GATHER_ND", [x, indices], x, identity(rank)))


def _gather_rows(call: Call, x: Value, rows: Tensor, count: int) -> None:
    """Whole rows, once the first `count` axes of `x` are one."""
    inner = x.shape[count:]
    flat = call.builder.reshape(x.tensor, (prod(x.shape[:count]), *inner))
    perm = identity(len(call.output_shape()))
    call.finish(call.write_like("GATHER", [flat, rows], x, perm, axis=0, batchDims=0))


def row_numbers(coordinates: Array, shape: tuple[int, ...]) -> Array:
    """Which row each vector of coordinates along the last axis means, in ONNX order."""
    depth = coordinates.shape[-1]
    steps = [prod(shape[axis + 1 : depth]) for axis in range(depth)]
    rows: Array = (coordinates.astype(np.int64) * np.array(steps, np.int64)).sum(-1)
    return rows.astype(np.int32)


def _with_batch(indices: Array, batch: int) -> Array:
    """Constant indices with their own place in the first `batch` axes as leading coordinates."""
    if not batch:
        return indices
    return np.concatenate([_batch_grid(indices.shape, batch, indices.dtype), indices], axis=-1)


def _batched(call: Call, indices: Value, batch: int) -> Value:
    """`_with_batch` for computed indices."""
    grid = call.builder.constant(_batch_grid(indices.shape, batch, indices.dtype))
    shape = (*indices.shape[:-1], indices.shape[-1] + batch)
    last = indices.rank - 1
    joined = call.builder.add(
        "CONCATENATION",
        [grid, indices],
        shape,
        indices.dtype,
        axis=last,
        fusedActivationFunction=0,
    )
    return Value(joined, indices.perm)


def _batch_grid(shape: tuple[int, ...], batch: int, dtype: np.dtype[Any]) -> Array:
    places = np.indices(shape[:batch]).reshape(
        batch, *shape[:batch], *[1] * (len(shape) - batch - 1)
    )
    grid = np.moveaxis(np.broadcast_to(places, (batch, *shape[:-1])), 0, -1)
    return grid.astype(dtype)
