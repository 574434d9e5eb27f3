"""Reductions over any axes, ArgMax, ArgMin and CumSum.

1. MEAN, SUM, REDUCE_MAX, REDUCE_MIN, REDUCE_PROD
2. compositions: L1 = sum |x|, L2 = sqrt(sum x^2), SumSquare, LogSum, LogSumExp (with the maximum
   taken out, so that it does not overflow)
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import Perm, Value
from edgewise.targets.android.model import Tensor
from edgewise.targets.android.ops.activation import binary, chain

_KINDS = {
    "ReduceMax": "REDUCE_MAX",
    "ReduceMean": "MEAN",
    "ReduceMin": "REDUCE_MIN",
    "ReduceProd": "REDUCE_PROD",
    "ReduceSum": "SUM",
}
_SAME_SCALE = ("REDUCE_MAX", "REDUCE_MIN")


def lower_reduce(call: Call) -> None:
    """Case 1."""
    x = call.operand(0)
    axes = _axes(call, x)
    if not axes:
        call.finish(x)
        return
    kind = _KINDS[call.op_type]
    call.finish(_reduce(call, kind, x, axes, keep=bool(call.attribute("keepdims", 1))))


def _axes(call: Call, x: Value) -> list[int]:
    """ONNX axes to reduce; all of them when none are named, unless the node says otherwise."""
    named = call.known(1, "axes").tolist() if call.has(1) else call.attribute("axes")
    if named:
        return sorted({int(axis) % x.rank for axis in named})
    return [] if call.attribute("noop_with_empty_axes", 0) else list(range(x.rank))


def _reduce(call: Call, kind: str, x: Value, axes: list[int], *, keep: bool) -> Value:
    tensor: Tensor = call.builder.ints(sorted(x.axis(axis) for axis in axes))
    perm = x.perm if keep else _without(x.perm, axes)
    shape = [1 if a in axes else dim for a, dim in enumerate(x.shape) if keep or a not in axes]
    if kind in _SAME_SCALE or not call.int8:
        physical = [shape[axis] for axis in perm]
        out = call.builder.like(kind, [x, tensor], x, shape=physical, keepDims=keep)
        return Value(out.tensor, perm)
    return call.write(kind, [x, tensor], perm, shape=shape, keepDims=keep)


def _without(perm: Perm, axes: list[int]) -> Perm:
    """The permutation once axes are gone and the others renumbered."""
    left = sorted(axis for axis in perm if axis not in axes)
    return tuple(left.index(axis) for axis in perm if axis not in axes)


def lower_composed_reduce(call: Call) -> None:
    """Case 2."""
    x = call.operand(0)
    axes = _axes(call, x)
    keep = bool(call.attribute("keepdims", 1))
    op_type = call.op_type
    if op_type == "ReduceLogSumExp":
        call.finish(_log_sum_exp(call, x, axes, keep=keep))
        return
    if op_type == "ReduceL1":
        x = chain(call, x, ["ABS"])
    elif op_type in ("ReduceL2", "ReduceSumSquare"):
        x = binary(call, "MUL", x, x)
    total = _reduce(call, "SUM", x, axes, keep=keep) if axes else x
    after = {"ReduceL2": ["SQRT"], "ReduceLogSum": ["LOG"]}.get(op_type, [])
    call.finish(chain(call, total, after))


def _log_sum_exp(call: Call, x: Value, axes: list[int], *, keep: bool) -> Value:
    if not axes:
        return x
    top = _reduce(call, "REDUCE_MAX", x, axes, keep=True)
    powers = chain(call, binary(call, "SUB", x, top), ["EXP"])
    spread = chain(call, _reduce(call, "SUM", powers, axes, keep=True), ["LOG"])
    total = binary(call, "ADD", spread, top)
    if keep:
        return total
    perm = _without(x.perm, axes)
    shape = [x.shape[a] for a in range(x.rank) if a not in axes]
    return Value(call.builder.reshape(total.tensor, [shape[axis] for axis in perm]), perm)


def lower_arg(call: Call) -> None:
    """ARG_MAX and ARG_MIN give the first of equal elements and drop the axis."""
    if call.attribute("select_last_index", 0):
        raise call.refuse("TFLite gives the first of equal elements", "Use select_last_index=0.")
    x = call.operand(0)
    axis = int(call.attribute("axis", 0)) % x.rank
    kind = "ARG_MAX" if call.op_type == "ArgMax" else "ARG_MIN"
    perm = _without(x.perm, [axis])
    shape = [dim for a, dim in enumerate(x.shape) if a != axis]
    position = call.builder.ints(x.axis(axis))
    y = call.write(kind, [x, position], perm, shape=shape, outputType=_INT64)
    if call.attribute("keepdims", 1):
        kept = [1 if a == axis else x.shape[a] for a in x.perm]
        y = Value(call.builder.reshape(y.tensor, kept), x.perm)
    call.finish(y)


_INT64 = 4  # TensorType of the schema


def lower_cumsum(call: Call) -> None:
    x = call.operand(0)
    axis = x.axis(int(call.known(1, "axis").reshape(())))
    call.finish(
        call.write(
            "CUMSUM",
            [x, call.builder.constant(np.array(axis, np.int32))],
            x.perm,
            exclusive=bool(call.attribute("exclusive", 0)),
            reverse=bool(call.attribute("reverse", 0)),
        )
    )
