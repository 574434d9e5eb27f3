"""Gather, GatherElements and GatherND.

1. Gather          MIL `gather`, of a quantized table too: it stays int8 in the file
2. GatherElements  `gather_along_axis`, which wants data and indices of one shape beside the axis:
                   what no index reads is cut off before
3. GatherND        `gather_nd`; batch axes become coordinates of their own, because MIL knows
                   `batch_dims` from iOS 16 on only
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import Call, Operand
from edgewise.targets.apple.ops.indices import IntArray, positions
from edgewise.targets.apple.ops.storage import narrowed, widened


def gather(call: Call) -> Operand:
    """Case 1."""
    axis = call.attribute("axis", 0)
    x = call.var(0)
    found = positions(call, 1, call.shape(0)[axis])
    indices = found[()] if isinstance(found, np.ndarray) else found
    return narrowed(mb.gather(x=widened(x), indices=indices, axis=axis, name=call.name), x.dtype)


def gather_elements(call: Call) -> Operand:
    """Case 2."""
    shape, wanted = call.shape(0), call.shape(1)
    axis = call.attribute("axis", 0) % len(shape)
    x = call.var(0)
    data = widened(x)
    end = [size if at == axis else wanted[at] for at, size in enumerate(shape)]
    if end != list(shape):
        data = mb.slice_by_index(x=data, begin=[0] * len(shape), end=end)
    indices = positions(call, 1, shape[axis])
    y = mb.gather_along_axis(x=data, indices=indices, axis=axis, name=call.name)
    return narrowed(y, x.dtype)


def gather_nd(call: Call) -> Operand:
    """Case 3. One index of all axes gives a scalar, which MIL has from a squeeze only."""
    shape, (*outer, depth) = call.shape(0), call.shape(1)
    batch = call.attribute("batch_dims", 0)
    indices = positions(call, 1, shape[batch : batch + depth])
    if batch:
        indices = _with_batch(indices, outer, batch)
    single = not outer
    if single:
        indices = mb.expand_dims(x=indices, axes=[0])
    x = call.var(0)
    y = mb.gather_nd(x=widened(x), indices=indices, name=call.name)
    return narrowed(mb.squeeze(x=y, axes=[0]) if single else y, x.dtype)


def _with_batch(indices: IntArray | Var, outer: list[int], batch: int) -> IntArray | Var:
    """Coordinates of the batch axes in front of those that are given."""
    places = np.moveaxis(np.indices(outer)[:batch], 0, -1).astype(np.int32)
    if isinstance(indices, np.ndarray):
        return np.concatenate([places, indices], axis=-1)
    return mb.concat(values=[places, indices], axis=-1)
