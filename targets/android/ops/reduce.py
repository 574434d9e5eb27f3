"""Reductions over any axes, and CumSum.

1. MEAN, SUM, REDUCE_MAX, REDUCE_MIN, REDUCE_PROD
2. compositions: L1 = sum |x|, L2 = sqrt(sum x^2), SumSquare, LogSum, LogSumExp (with the maximum
   taken out, so that it does not overflow)
3. of bool, the maximum is REDUCE_ANY and the minimum REDUCE_ALL
4. above six axes, which is as many as XNNPACK takes, neighbours that are both reduced or both kept
   become one
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.android.builder import FLOAT32
from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import Value, identity, without
from edgewise.targets.android.model import Tensor
from edgewise.targets.android.ops.activation import binary, chain
from edgewise.targets.android.ops.dtypes import BOOL, compute, scalar
from edgewise.targets.android.ops.integers import absolute

_KINDS = {
    "ReduceMax": "REDUCE_MAX",
    "ReduceMean": "MEAN",
    "ReduceMin": "REDUCE_MIN",
    "ReduceProd": "REDUCE_PROD",
    "ReduceSum": "SUM",
}
_SUMMED = ("float32", "int32", "int64")
_SAME_SCALE = ("REDUCE_MAX", "REDUCE_MIN")
_LOGICAL = {"REDUCE_MAX": "REDUCE_ANY", "REDUCE_MIN": "REDUCE_ALL"}
_OF_INTEGERS = ("ReduceL1", "ReduceSumSquare")
_MOST_AXES = 6


def lower_reduce(call: Call) -> None:
    """Case 1."""
    x = call.numbers(0)
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
    perm = x.perm if keep else without(x.perm, axes)
    shape = [1 if a in axes else dim for a, dim in enumerate(x.shape) if keep or a not in axes]
    physical = [shape[axis] for axis in perm]
    if x.rank > _MOST_AXES:
        merged, runs = _merged(call, x, axes)
        out = _reduce(call, kind, merged, runs, keep=False)
        return Value(call.builder.reshape(out.tensor, physical), perm)
    tensor: Tensor = call.builder.ints(sorted(x.axis(axis) for axis in axes))
    if not call.int8:
        kind = _LOGICAL[kind] if x.dtype == BOOL else kind
        return compute(call, kind, [x], perm, shape, parameters=[tensor], keepDims=keep)
    if kind in _SAME_SCALE:
        out = call.builder.like(kind, [x, tensor], x, shape=physical, keepDims=keep)
        return Value(out.tensor, perm)
    return call.write(kind, [x, tensor], perm, shape=shape, keepDims=keep)


def _merged(call: Call, x: Value, axes: list[int]) -> tuple[Value, list[int]]:
    """Case 4: the value with fewer axes, and those of them that are to be reduced."""
    dims: list[int] = []
    reduced: list[bool] = []
    for axis, dim in zip(x.perm, x.tensor.shape, strict=True):
        if reduced and reduced[-1] == (axis in axes):
            dims[-1] *= dim
        else:
            dims.append(dim)
            reduced.append(axis in axes)
    merged = Value(call.builder.reshape(x.tensor, dims), identity(len(dims)))
    return merged, [axis for axis, flag in enumerate(reduced) if flag]


def lower_composed_reduce(call: Call) -> None:
    """Case 2."""
    x = call.numbers(0)
    axes = _axes(call, x)
    keep = bool(call.attribute("keepdims", 1))
    op_type = call.op_type
    if x.dtype != FLOAT32 and op_type not in _OF_INTEGERS:
        raise call.refuse(
            f"it takes roots or logarithms of {x.dtype}", "Cast to float32 in the model."
        )
    if op_type == "ReduceLogSumExp":
        call.finish(_log_sum_exp(call, x, axes, keep=keep))
        return
    if op_type == "ReduceL1":
        x = absolute(call, x)
    elif op_type in ("ReduceL2", "ReduceSumSquare"):
        x = compute(call, "MUL", [x, x], x.perm)
    total = _reduce(call, "SUM", x, axes, keep=keep) if axes else x
    after = {"ReduceL2": ["SQRT"], "ReduceLogSum": ["LOG"]}.get(op_type, [])
    call.finish(chain(call, total, after))


def _log_sum_exp(call: Call, x: Value, axes: list[int], *, keep: bool) -> Value:
    if not axes:
        return x
    top = _finite(call, _reduce(call, "REDUCE_MAX", x, axes, keep=True))
    powers = chain(call, binary(call, "SUB", x, top), ["EXP"])
    spread = chain(call, _reduce(call, "SUM", powers, axes, keep=True), ["LOG"])
    total = binary(call, "ADD", spread, top)
    if keep:
        return total
    perm = without(x.perm, axes)
    shape = [x.shape[a] for a in range(x.rank) if a not in axes]
    return Value(call.builder.reshape(total.tensor, [shape[axis] for axis in perm]), perm)


def _finite(call: Call, x: Value) -> Value:
    """0 in place of infinities, which taken from themselves would give NaN."""
    huge = compute(call, "EQUAL", [absolute(call, x), scalar(call, np.inf, FLOAT32)], x.perm)
    return call.builder.like("SELECT_V2", [huge, call.builder.float_scalar(0.0), x], x)


def lower_cumsum(call: Call) -> None:
    x = call.operand(0)
    if x.dtype.name not in _SUMMED:
        raise call.refuse(f"TFLite has no running sum of {x.dtype}", "Use float32 or int32.")
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
