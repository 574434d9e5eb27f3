"""Indices as TFLite's kernels read them: ONNX counts negative ones from the end, TFLite does not.

1. constant        resolved now; one outside its axis is refused
2. provably >= 0   positions that an ArgMax, ArgMin or TopK found, sizes, uint8: taken as they are
3. any other       `index < 0 ? index + size : index`, so that one outside its axis still is an
                   error in the kernel and never silently another element
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgewise.targets.android.builder import INT32
from edgewise.targets.android.call import NO_ACTIVATION, Call
from edgewise.targets.android.layout import Perm, Value, identity
from edgewise.targets.android.model import Array
from edgewise.targets.android.ops.dtypes import cast, compute, scalar

#: output that holds positions or sizes, by operator
_COUNTING = {"ArgMax": 0, "ArgMin": 0, "NonZero": 0, "Shape": 0, "Size": 0, "TopK": 1}
#: operators that only hand on what their first input holds
_MOVING = frozenset({
    "Cast", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Reshape",
    "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
})  # fmt: skip


def constant_indices(call: Call, index: int, sizes: Sequence[int] | int) -> Array | None:
    """Case 1: the indices of a constant input, none negative; None when it is computed.

    `sizes` is what is indexed: one size, or one per element of the last axis.
    """
    known = call.constant(index)
    if known is None:
        return None
    size = np.asarray(sizes, np.int64)
    if ((known < -size) | (known >= size)).any():
        raise call.refuse("an index lies outside of its axis", "Correct the indices.")
    resolved: Array = np.where(known < 0, known + size, known).astype(np.int32)
    return resolved


def computed_indices(call: Call, index: int, sizes: Sequence[int] | int) -> Value:
    """Cases 2 and 3: the indices of a computed input, none negative; in their own order where
    `sizes` is one size, in ONNX order where there is one per element of the last axis."""
    value = call.numbers(index)
    if value.dtype.kind == "u" or _never_negative(call.source(index)):
        return value
    if not isinstance(sizes, int):
        value = call.builder.linear(value)
    return wrapped(call, value, sizes)


def wrapped(call: Call, value: Value, sizes: Sequence[int] | int) -> Value:
    """Case 3."""
    size = Value(call.builder.constant(np.array(sizes, value.dtype)), ())
    negative = compute(call, "LESS", [value, scalar(call, 0, value.dtype)], value.perm)
    moved = compute(call, "ADD", [value, size], value.perm, fusedActivationFunction=NO_ACTIVATION)
    return call.builder.like("SELECT_V2", [negative, moved, value], value)


def indices_of(
    call: Call, index: int, sizes: Sequence[int] | int, perm: Perm | None = None
) -> Value:
    """Indices in any of the three cases, in a memory order (ONNX order by default)."""
    known = constant_indices(call, index, sizes)
    if known is not None:
        order = identity(known.ndim) if perm is None else perm
        return Value(call.builder.constant(np.transpose(known, order)), order)
    value = computed_indices(call, index, sizes)
    return call.builder.reorder(value, identity(value.rank) if perm is None else perm)


def as_int32(call: Call, value: Value) -> Value:
    """int64 indices as int32: an axis is never longer than that."""
    return cast(call, value, INT32)


def _never_negative(value: ir.Value | None) -> bool:
    node = None if value is None else value.producer()
    if value is None or node is None:
        return False
    if node.op_type in _COUNTING:
        return node.outputs[_COUNTING[node.op_type]] is value
    if node.op_type == "Cast" and node.inputs[0] is not None:
        source = node.inputs[0].dtype
        if source is None or not source.is_integer():
            return False
    return node.op_type in _MOVING and _never_negative(node.inputs[0])
