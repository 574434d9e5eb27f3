"""ArgMax and ArgMin: ARG_MAX and ARG_MIN give the first of equal elements and drop the axis.

1. int64              no kernel: what EQUAL finds equal to the extremum is looked up instead
2. select_last_index  the axis is turned around first, and so are the positions
"""

from __future__ import annotations

from edgewise.targets.android.call import NO_ACTIVATION, Call
from edgewise.targets.android.layout import Value, without
from edgewise.targets.android.model import INT64
from edgewise.targets.android.ops.dtypes import compute, scalar
from edgewise.targets.android.ops.reverse import reverse_axes

_KINDS = {"ArgMax": ("ARG_MAX", "REDUCE_MAX"), "ArgMin": ("ARG_MIN", "REDUCE_MIN")}
_TENSOR_TYPE_INT64 = 4


def lower_arg(call: Call) -> None:
    builder = call.builder
    x = call.operand(0)
    axis = int(call.attribute("axis", 0)) % x.rank
    kind, extremum = _KINDS[call.op_type]
    if x.dtype == INT64:
        x, kind = _where_extreme(call, x, axis, extremum), "ARG_MAX"
    last = bool(call.attribute("select_last_index", 0))
    if last:
        x = reverse_axes(call, x, [axis])
    perm = without(x.perm, [axis])
    shape = [dim for dim, a in zip(x.tensor.shape, x.perm, strict=True) if a != axis]
    position = builder.ints(x.axis(axis))
    found = builder.add(kind, [x, position], shape, INT64, outputType=_TENSOR_TYPE_INT64)
    if last:
        terms = [scalar(call, x.shape[axis] - 1, INT64), Value(found, perm)]
        found = compute(call, "SUB", terms, perm, fusedActivationFunction=NO_ACTIVATION).tensor
    if call.attribute("keepdims", 1):
        kept = [1 if a == axis else x.shape[a] for a in x.perm]
        found, perm = builder.reshape(found, kept), x.perm
    call.finish(Value(found, perm))


def _where_extreme(call: Call, x: Value, axis: int, kind: str) -> Value:
    """Case 1: true where the element is the extremum of its row."""
    builder = call.builder
    shape = [1 if a == axis else x.shape[a] for a in x.perm]
    top = builder.like(kind, [x, builder.ints([x.axis(axis)])], x, shape=shape, keepDims=True)
    return compute(call, "EQUAL", [x, top], x.perm)
