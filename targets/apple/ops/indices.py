"""Indices as Core ML wants them: int32 and counted from the front.

From iOS 17 on, MIL calls a negative index out of range; before, only some operators take one. ONNX
counts a negative one from the end, so that is added up here: for constants at once, for computed
indices with `select`, as MIL's documentation of `gather` recommends.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import Call

#: operators that count from the front
_COUNTING = ("ArgMax", "ArgMin", "TopK", "NonZero")
#: operators that hand integers on
_HANDING_ON = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
IntArray = npt.NDArray[np.int32]


def positions(call: Call, index: int, sizes: int | Sequence[int]) -> IntArray | Var:
    """Input `index`; `sizes` is that of the axis, or of one axis per element of its last axis."""
    limits = np.asarray(sizes, np.int64)
    if call.is_constant(index):
        given = call.array(index, "indices").astype(np.int64)
        if ((given < -limits) | (given >= limits)).any():
            call.refuse("an index lies outside of its axis", "Correct the indices.")
        return np.where(given < 0, given + limits, given).astype(np.int32)
    return counted(call, index, call.var(index), limits)


def counted(call: Call, index: int, indices: Var, sizes: npt.NDArray[np.int64]) -> Var:
    """The computed indices of an input, the negative ones counted from the front."""
    if _is_counted(call.node.inputs[index]):
        return indices
    from_end = mb.add(x=indices, y=sizes.astype(np.int32)[()])
    return mb.select(cond=mb.less(x=indices, y=np.int32(0)), a=from_end, b=indices)


def _is_counted(value: ir.Value | None) -> bool:
    """Whether the indices are never negative."""
    node = None if value is None else value.producer()
    while node is not None and node.op_type in _HANDING_ON and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node is not None and node.op_type in _COUNTING
