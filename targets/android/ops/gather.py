"""Gather and GatherND. Negative constant indices are resolved; computed ones must not be negative,
because TFLite does not count from the end."""

from __future__ import annotations

import numpy as np

from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import Value, identity


def lower_gather(call: Call) -> None:
    x = call.operand(0)
    axis = int(call.attribute("axis", 0)) % x.rank
    indices = _indices(call, x.shape[axis])
    if indices.rank != 1:
        x = call.builder.linear(x)
    physical = x.axis(axis)
    perm = x.perm if indices.rank == 1 else identity(len(call.output_shape()))
    call.finish(call.write_like("GATHER", [x, indices], x, perm, axis=physical, batchDims=0))


def _indices(call: Call, size: int) -> Value:
    known = call.constant(1)
    if known is None:
        return call.builder.linear(call.operand(1))
    resolved = np.where(known < 0, known + size, known).astype(np.int32)
    return Value(call.builder.constant(resolved), identity(resolved.ndim))


def lower_gather_nd(call: Call) -> None:
    if call.attribute("batch_dims", 0):
        raise call.refuse("its batch_dims are not 0", "Use batch_dims=0.")
    x = call.builder.linear(call.operand(0))
    known = call.constant(1)
    if known is None:
        indices = call.builder.linear(call.operand(1))
    else:
        sizes = np.array(x.shape[: known.shape[-1]])
        resolved = np.where(known < 0, known + sizes, known).astype(np.int32)
        indices = Value(call.builder.constant(resolved), identity(resolved.ndim))
    rank = len(call.output_shape())
    call.finish(call.write_like("GATHER_ND", [x, indices], x, identity(rank)))
