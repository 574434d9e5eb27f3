"""Elements at constant positions along one axis, in the cheapest form that gives them.

1. All of them in order: the value itself.
2. Evenly spaced, forwards: a strided slice.
3. Any others: `gather`. Core ML gathers no booleans before iOS 17, so they pass through int32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var, types
from edgewise.targets.apple.call import named

Indices = npt.NDArray[np.integer[Any]]


def pick(x: Var, axis: int, indices: Indices, name: str | None = None) -> Var:
    """The elements at `indices`, which lie inside the axis, along `axis`, counted from the front.

    Case 1 makes no operation, so `name` may go unused.
    """
    size, step = int(x.shape[axis]), spacing(indices)
    if step == 1 and len(indices) == size:
        return x
    if step is not None:
        return _strided(x, axis, indices, step, name)
    if x.dtype == types.bool:
        numbers = pick(mb.cast(x=x, dtype="int32"), axis, indices)
        return mb.cast(x=numbers, dtype="bool", **named(name))
    return mb.gather(x=x, indices=indices.astype(np.int32), axis=axis, **named(name))


def spacing(indices: Indices) -> int | None:
    """The positive distance between all neighbours, 1 for a single element; None for others."""
    if len(indices) == 1:
        return 1
    steps = np.unique(np.diff(indices))
    return int(steps[0]) if len(steps) == 1 and steps[0] > 0 else None


def _strided(x: Var, axis: int, indices: Indices, step: int, name: str | None) -> Var:
    begin, end, stride = [0] * x.rank, [int(size) for size in x.shape], [1] * x.rank
    begin[axis], end[axis], stride[axis] = int(indices[0]), int(indices[-1]) + 1, step
    return mb.slice_by_index(x=x, begin=begin, end=end, stride=stride, **named(name))
