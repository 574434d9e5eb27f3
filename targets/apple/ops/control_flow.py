"""If and Loop as MIL's `cond` and `while_loop`, whose blocks see the values around them.

1. If     cond: only the branch that is taken is computed. Both give the same shapes and types.
2. Loop   while_loop. What goes round: the number of the iteration, the condition if it can change,
          the carried values, the stacked results. The limit is read from around.
3. A stacked result is a tensor of its final size from the start; each iteration writes its slice
          with `scatter`, which has no booleans: they go round as int32. So data may not decide how
          many slices there are.

A Loop of few iterations never gets here: it is written out (see `edgewise.graph.expand`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.graph.bodies import ENDLESS, goes_on, trip_count
from edgewise.graph.expand.control_flow import is_short
from edgewise.graph.read import constant
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var, types
from edgewise.targets.apple.call import Call, Operand, emit

_PAD = "Give it one static shape, for example by padding."


def if_(call: Call) -> Sequence[Operand]:
    """Case 1."""
    branches = [call.attribute("then_branch"), call.attribute("else_branch")]
    for first, second in zip(*(branch.outputs for branch in branches), strict=True):
        if first.shape is None or not first.shape.is_static() or first.shape != second.shape:
            call.refuse(
                f"its branches give the shapes {_text(first)} and {_text(second)}",
                f"Core ML needs one shape of both. {_PAD}",
            )

    def taken(branch: ir.Graph) -> Any:
        return lambda: tuple(_own(operand) for operand in call.lower_body(branch, []))

    then, otherwise = map(taken, branches)
    pred = _scalar(call.var(0))
    results = mb.cond(pred=pred, _true_fn=then, _false_fn=otherwise, name=call.name)
    return [results] if isinstance(results, Var) else list(results)


def loop_fits(node: ir.Node) -> bool:
    """Whether the Loop is not rather written out."""
    return not is_short(node)


def loop(call: Call) -> Sequence[Operand]:
    """Cases 2 and 3."""
    plan = _plan(call)
    start = [_unknown(emit(call.operand(2 + index))) for index in range(plan.carried)]
    stacks = [_empty_stack(call, index) for index in plan.stacked]
    condition = () if plan.condition is None else (_unknown(plan.condition),)
    first = 1 + len(condition)  # of the carried values, among what goes round

    def goes(number: Var, *others: Var) -> Var:
        tests = [mb.less(x=number, y=plan.limit)] if plan.limit is not None else []
        tests += others[: len(condition)]
        return tests[0] if len(tests) == 1 else mb.logical_and(x=tests[0], y=tests[1])

    def body(*given: Var) -> tuple[Var, ...]:
        number, going = given[0], given[first:]
        states, places = going[: plan.carried], going[plan.carried :]
        goes_in = given[1] if condition else np.array(True)
        goes_out, *results = call.lower_body(plan.body, [number, goes_in, *states])
        kept = [
            _carried(call, value, state, number)
            for value, state in zip(results, states, strict=False)
        ]
        written = [
            _written(place, emit(results[index]), number)
            for index, place in zip(plan.stacked, places, strict=True)
        ]
        following = mb.add(x=number, y=np.int32(1))
        return (following, *([_scalar(_own(goes_out))] if condition else []), *kept, *written)

    ends = mb.while_loop(
        _cond=goes,
        _body=body,
        loop_vars=(_unknown(mb.const(val=np.int32(0))), *condition, *start, *stacks),
        name=call.name,
    )
    found: list[Operand] = list(ends[first : first + plan.carried])
    stacked = dict(zip(plan.stacked, ends[first + plan.carried :], strict=True))
    for index in range(plan.carried, len(call.node.outputs)):
        found.append(_of_type(stacked[index], call.node.outputs[index]) if index in stacked
                     else np.zeros(0, np.float32))  # fmt: skip
    return found


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a Loop does: `limit` and `condition` are None where there is none; `stacked` are the
    outputs of case 3 that anything reads."""

    body: ir.Graph
    limit: Var | np.int32 | None
    condition: Var | None
    carried: int
    stacked: Sequence[int]


def _plan(call: Call) -> _Plan:
    body: ir.Graph = call.attribute("body")
    carried = len(body.inputs) - 2
    stacked = [i for i in range(carried, len(call.node.outputs)) if call.wants_output(i)]
    if stacked and trip_count(call.node) is None:
        call.refuse(
            "it stacks results, and data decide how many",
            "Export the model with a constant number of iterations, or carry the result.",
        )
    for value, start in zip(body.outputs[1 : 1 + carried], call.node.inputs[2:], strict=True):
        fixed = value.shape is not None and value.shape.is_static()
        if not fixed or start is None or start.shape != value.shape:
            call.refuse(
                f"the shape of its carried value '{value.name}' is not known, or changes from one"
                " iteration to the next",
                _PAD,
            )
    limit, condition = _limit(call), _condition(call, body)
    if limit is None and condition is None:
        call.refuse("nothing ends it", "Give it a limit or a condition.")
    return _Plan(body, limit, condition, carried, stacked)


def _limit(call: Call) -> Var | np.int32 | None:
    if not call.has(0):
        return None
    if call.is_constant(0):
        number = int(call.scalar(0, "limit"))
        return None if number >= ENDLESS else np.int32(max(number, 0))
    return _scalar(call.var(0))


def _condition(call: Call, body: ir.Graph) -> Var | None:
    """The first condition; None where it is true for ever."""
    given = call.has(1)
    known = constant(call.node.inputs[1]) if given else np.array(True)
    if goes_on(body) and known is not None and known.all():
        return None
    return _scalar(call.var(1)) if given else mb.const(val=np.bool_(True))


def _empty_stack(call: Call, index: int) -> Var:
    """Case 3: a tensor for all iterations, of zeros."""
    output = call.node.outputs[index]
    if output.shape is None or not output.shape.is_static() or output.dtype is None:
        call.refuse(f"the shape of its stacked result '{output.name}' is not known", _PAD)
    is_float = output.dtype.numpy().kind == "f"
    zero = np.float32(0) if is_float else np.int32(0)
    return _unknown(mb.fill(shape=list(output.shape.numpy()), value=zero))


def _written(place: Var, piece: Var, number: Var) -> Var:
    """The stack with the slice of this iteration in it."""
    if piece.dtype != place.dtype:
        piece = mb.cast(x=piece, dtype=types.builtin_to_string(place.dtype))
    position = mb.expand_dims(x=number, axes=[0])
    update = mb.expand_dims(x=piece, axes=[0])
    return mb.scatter(data=place, indices=position, updates=update, axis=0, mode="update")


def _unknown(value: Var) -> Var:
    """What goes into the loop, its number forgotten: coremltools would take what is known before
    the first iteration for known in the body."""
    copy = mb.identity(x=value)
    copy._sym_val = None
    return copy


def _of_type(stack: Var, output: ir.Value) -> Var:
    boolean = output.dtype == ir.DataType.BOOL
    return mb.cast(x=stack, dtype="bool") if boolean else stack


def _carried(call: Call, value: Operand, state: Var, number: Var) -> Var:
    """What goes round again, of the shape and type that it came with. coremltools refuses constants
    there, so they are chosen where the number of the iteration is not negative: always."""
    result = _own(value)
    if tuple(result.shape) != tuple(state.shape) or result.dtype != state.dtype:
        call.refuse(
            f"a carried value changes from {_kind(state)} to {_kind(result)}",
            "Give it one type and shape for all iterations.",
        )
    if result.val is None:
        return result
    return mb.select(cond=mb.greater_equal(x=number, y=np.int32(0)), a=result, b=state)


def _kind(value: Var) -> str:
    return f"{types.builtin_to_string(value.dtype)} {list(value.shape)}"


def _own(operand: Operand) -> Var:
    """A value that the block itself computes, as its outputs must be."""
    return mb.identity(x=emit(operand))


def _scalar(value: Var) -> Var:
    """Of one element: ONNX takes a vector of one where MIL wants none."""
    return mb.squeeze(x=value, axes=list(range(value.rank))) if value.rank else value


def _text(value: ir.Value) -> str:
    return "unknown" if value.shape is None else str([str(dim) for dim in value.shape])
