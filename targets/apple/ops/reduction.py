"""Reductions over axes, and the positions of extrema."""

from __future__ import annotations

from collections.abc import Sequence

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import Call, Operand

_REDUCTIONS = {
    "ReduceMean": "reduce_mean", "ReduceSum": "reduce_sum", "ReduceMax": "reduce_max",
    "ReduceMin": "reduce_min", "ReduceProd": "reduce_prod", "ReduceL1": "reduce_l1_norm",
    "ReduceL2": "reduce_l2_norm", "ReduceSumSquare": "reduce_sum_square",
    "ReduceLogSum": "reduce_log_sum", "ReduceLogSumExp": "reduce_log_sum_exp",
}  # fmt: skip


def reduce(call: Call) -> Operand:
    """Axes are an input since opset 18 (13 for ReduceSum) and an attribute before."""
    axes = call.ints(1, "axes") if call.has(1) else list(call.attribute("axes", []))
    if not axes:
        if call.attribute("noop_with_empty_axes", 0):
            return call.operand(0)
        axes = list(range(call.rank(0)))
    return getattr(mb, _REDUCTIONS[call.node.op_type])(
        x=call.var(0),
        axes=axes,
        keep_dims=bool(call.attribute("keepdims", 1)),
        name=call.name,
    )


def arg_extremum(call: Call) -> Operand:
    """ArgMax and ArgMin: the first position wins among equals."""
    if call.attribute("select_last_index", 0):
        call.refuse("Core ML gives the first position, not the last", "Use select_last_index=0.")
    operation = mb.reduce_argmax if call.node.op_type == "ArgMax" else mb.reduce_argmin
    return operation(
        x=call.var(0),
        axis=call.attribute("axis", 0),
        keep_dims=bool(call.attribute("keepdims", 1)),
        name=call.name,
    )


def top_k(call: Call) -> Sequence[Operand]:
    values, indices = mb.topk(
        x=call.var(0),
        k=call.ints(1, "k")[0],
        axis=call.attribute("axis", -1),
        ascending=not call.attribute("largest", 1),
        name=call.name,
    )
    found: tuple[Var, Var] = (values, indices)
    return found
