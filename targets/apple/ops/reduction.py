"""Reductions over axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var, types
from edgewise.targets.apple.call import Call, Operand, named
from edgewise.targets.apple.ops.elementwise import absolute, logarithm
from edgewise.targets.apple.ops.integers import truncated_quotient
from edgewise.targets.apple.ops.numbers import element_type, is_integer, number, wrapped

_REDUCTIONS = {
    "ReduceMean": "reduce_mean", "ReduceSum": "reduce_sum", "ReduceMax": "reduce_max",
    "ReduceMin": "reduce_min", "ReduceProd": "reduce_prod", "ReduceL1": "reduce_l1_norm",
    "ReduceL2": "reduce_l2_norm", "ReduceSumSquare": "reduce_sum_square",
    "ReduceLogSum": "reduce_log_sum", "ReduceLogSumExp": "reduce_log_sum_exp",
}  # fmt: skip
#: whose results are no integers of integers
_ROUNDED = ("ReduceL2", "ReduceLogSum", "ReduceLogSumExp")


def reduce(call: Call) -> Operand:
    """1. Axes are an input since opset 18 (13 for ReduceSum) and an attribute before.
    2. A scalar is reduced as a vector of one element, since MIL reduces along axes only.
    3. Booleans are numbers 0 and 1; integers stay integers, so that a mean is their sum divided
    towards zero. Roots and logarithms of integers, which ONNX cuts off, are not offered.
    4. Over no axes (`noop_with_empty_axes`) each element is reduced by itself."""
    axes = call.ints(1, "axes") if call.has(1) else list(call.attribute("axes", []))
    if not axes and call.attribute("noop_with_empty_axes", 0):
        return _of_elements(call)
    op_type, dtype, x = call.node.op_type, element_type(call, 0), number(call, 0)
    if op_type in _ROUNDED and is_integer(dtype):
        call.refuse(f"Core ML computes no {op_type} of integers", "Cast to float32 before.")
    keep = bool(call.attribute("keepdims", 1))
    if not x.shape:
        x, axes, keep = mb.expand_dims(x=x, axes=[0]), [0], False
    axes = axes or list(range(len(x.shape)))
    if x.dtype == types.bool:
        found = _reduced(op_type, mb.cast(x=x, dtype="int32"), axes, keep)
        return mb.cast(x=found, dtype="bool", name=call.name)
    if op_type == "ReduceMean" and is_integer(dtype):
        count = int(np.prod([int(x.shape[axis]) for axis in axes]))
        return truncated_quotient(_reduced("ReduceSum", x, axes, keep), np.int32(count))
    result = _reduced(op_type, x, axes, keep, call.name)
    return wrapped(result, dtype) if is_integer(dtype) else result


def _of_elements(call: Call) -> Operand:
    """Case 4: `|x|` of the norms, `x x` of the sum of squares, `log x` of the logarithm of the sum,
    and `x` of all others."""
    match call.node.op_type:
        case "ReduceL1" | "ReduceL2":
            return absolute(call)
        case "ReduceSumSquare":
            x = number(call, 0)
            dtype, square = element_type(call, 0), mb.mul(x=x, y=x, name=call.name)
            return wrapped(square, dtype) if is_integer(dtype) else square
        case "ReduceLogSum":
            return logarithm(call)
    return call.operand(0)


def _reduced(op_type: str, x: Var, axes: Sequence[int], keep: bool, name: str | None = None) -> Var:
    operation = getattr(mb, _REDUCTIONS[op_type])
    result: Var = operation(x=x, axes=list(axes), keep_dims=keep, **named(name))
    return result
