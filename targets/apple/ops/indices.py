"""Indices as Core ML wants them: int32 and counted from the front.

From iOS 17 on, MIL calls a negative index out of range; before, only some operators take one. ONNX
counts a negative one from the end, so that is added up here: for constants at once, for computed
indices with `select`, as MIL's documentation of `gather` recommends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import Call

#: operations whose int32 results are never negative
_COUNTED = ("reduce_argmax", "reduce_argmin", "topk", "argsort", "non_zero")
IntArray = npt.NDArray[np.int32]


def positions(call: Call, index: int, sizes: int | Sequence[int]) -> IntArray | Var:
    """Input `index`; `sizes` is that of the axis, or of one axis per element of its last axis."""
    limits = np.asarray(sizes, np.int64)
    if not call.is_constant(index):
        return counted(call.var(index), limits.astype(np.int32))
    given = call.array(index, "indices").astype(np.int64)
    if ((given < -limits) | (given >= limits)).any():
        call.refuse("an index lies outside of its axis", "Correct the indices.")
    return np.where(given < 0, given + limits, given).astype(np.int32)


def counted(indices: Var, sizes: Any) -> Var:
    """Computed indices, the negative ones counted from the front."""
    if indices.op is not None and indices.op.op_type in _COUNTED:
        return indices
    from_end = mb.add(x=indices, y=sizes[()])
    return mb.select(cond=mb.less(x=indices, y=np.int32(0)), a=from_end, b=indices)
