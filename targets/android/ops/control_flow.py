"""If and Loop, whose bodies become subgraphs of the file.

1. If     IF: only the branch that is taken is computed. (Computing both and choosing would save the
          copies at the ends of the branch, one or two microseconds, at the price of the other one.)
2. Loop   WHILE. What goes round: the number of the iteration, the limit if it is computed, the
          condition if it can change, the carried values, the stacked results, and what the body
          reads from around it.
3. A stacked result is a tensor of its final size from the start; each iteration writes its slice.

The body's values lie in memory as those of the graph around it do, so entering costs no transpose.
A Loop whose number of iterations is small never gets here (see `edgewise.graph.expand`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.graph.bodies import ENDLESS, captured, goes_on, trip_count
from edgewise.targets.android.builder import INT32, Builder
from edgewise.targets.android.call import NO_ACTIVATION, Call, Context
from edgewise.targets.android.layout import Perm, Value, identity
from edgewise.targets.android.model import INT64, Graph, Tensor
from edgewise.targets.android.qdq import QdqPlan

_BOOL: np.dtype[Any] = np.dtype(np.bool_)
#: what DYNAMIC_UPDATE_SLICE and FILL know
_STACKED = ("float32", "int8", "uint8", "int16", "int32", "int64", "bool")
_STATIC = "Give fixed input shapes ([model] input_shapes, or --input-shape)."


def loop_fits(node: ir.Node) -> bool:
    """Whether only a WHILE can express the Loop."""
    return trip_count(node) is None


def lower_if(call: Call) -> None:
    """Case 1."""
    branches = {
        "thenSubgraphIndex": call.attribute("then_branch"),
        "elseSubgraphIndex": call.attribute("else_branch"),
    }
    shapes = [[_shape(call, value) for value in branch.outputs] for branch in branches.values()]
    for first, second in zip(*shapes, strict=True):
        if first != second:
            raise call.refuse(
                f"its branches give the shapes {list(first)} and {list(second)}",
                "Give both branches one shape, for example by padding.",
            )
    read = dict.fromkeys(value for branch in branches.values() for value in captured(branch))
    around = _around(call, read)
    written: dict[str, tuple[_Body, list[Value]]] = {}
    for option, branch in branches.items():
        body = _Body.of(call, branch)
        for source, value in around.items():
            body.parameter(source, value)
        body.lower(branch)
        written[option] = body, [body.value(call, result) for result in branch.outputs]
    perms = [_common_order(pair) for pair in zip(*(v for _, v in written.values()), strict=True)]
    for body, values in written.values():
        for value, perm in zip(values, perms, strict=True):
            body.give(value, perm)
    bodies = {option: body.finish() for option, (body, _) in written.items()}
    condition = call.builder.reshape(call.operand(0).tensor, ())
    ends = _add(call, "IF", [condition, *_tensors(around)], bodies["thenSubgraphIndex"], bodies)
    for index, (tensor, perm) in enumerate(zip(ends, perms, strict=True)):
        call.finish(Value(tensor, perm), index)


def _common_order(values: Sequence[Value]) -> Perm:
    """The order in which the branches give a result: that of the first one with a choice."""
    linear = identity(values[0].rank)
    return next((value.perm for value in values if value.perm != linear), linear)


def lower_loop(call: Call) -> None:
    """Cases 2 and 3."""
    _Loop(call, call.attribute("body")).lower()


@dataclass(slots=True)
class _Body:
    """A subgraph while it is written, with a context of its own."""

    context: Context
    #: what each input of the subgraph may hand on untouched
    inputs: list[Value] = field(default_factory=list)

    @classmethod
    def of(cls, call: Call, graph: ir.Graph) -> _Body:
        _check(call, graph)
        plan = QdqPlan(graph)
        for refusal in plan.refusals:
            raise refusal
        outer = call.context
        context = Context(
            plan, findings=outer.findings, declined=outer.declined, lower_nodes=outer.lower_nodes
        )
        context.builder.origin = call.builder.origin
        return cls(context)

    @property
    def builder(self) -> Builder:
        return self.context.builder

    def parameter(self, source: ir.Value | None, like: Value) -> Value:
        """Append an input of the form of a value around; it stands for `source` in the body."""
        name = "" if source is None else source.name or ""
        tensor = Tensor(like.tensor.shape, like.dtype, like.quantization, name=name)
        value = Value(tensor, like.perm)
        self.builder.graph.inputs.append(tensor)
        self.inputs.append(value)
        if source is not None:
            self.context.values[source] = value
        return value

    def lower(self, graph: ir.Graph) -> None:
        self.context.lower_nodes(self.context, graph)

    def value(self, call: Call, source: ir.Value) -> Value:
        """What the body computes for a value, in float where it stands behind a DQ."""
        values, plan = self.context.values, self.context.plan
        stored = plan.stored.get(source)
        if stored is not None and stored in values:
            return self.builder.dequantize(values[stored])
        if source in values:
            return values[source]
        known = plan.constant(source)
        if known is None:
            raise call.refuse(f"value '{source.name}' is never computed", "Check the model.")
        return Value(self.builder.constant(known), identity(known.ndim))

    def give(self, value: Value, perm: Perm) -> Tensor:
        """Append an output. Only an input may be handed on, and only at its own position: outputs
        are copied to inputs one after the other."""
        graph = self.builder.graph
        tensor = self.builder.reorder(value, perm).tensor
        position = len(graph.outputs)
        in_place = position < len(graph.inputs) and graph.inputs[position] is tensor
        taken = tensor in graph.inputs or tensor in graph.outputs or tensor.data is not None
        if taken and not in_place:
            tensor = self.builder.copy(tensor, tensor.shape)
        graph.outputs.append(tensor)
        return tensor

    def finish(self) -> Graph:
        self.builder.graph.remove_dead()
        return self.builder.graph


class _Loop:
    """One Loop while it is lowered."""

    def __init__(self, call: Call, graph: ir.Graph) -> None:
        self.call, self.builder, self.graph = call, call.builder, graph
        self.count = trip_count(call.node)
        self.carried = len(graph.inputs) - 2
        self.stacked = [
            index
            for index in range(self.carried, len(call.node.outputs))
            if call.node.outputs[index].uses() or call.node.outputs[index].is_graph_output()
        ]
        if self.stacked and self.count is None:
            raise call.refuse(
                "it stacks results, and data decide how many",
                "Export the model with a constant number of iterations, or carry the result.",
            )
        for value in graph.outputs[1 : 1 + self.carried]:
            if value.shape is None or not all(isinstance(dim, int) for dim in value.shape):
                raise call.refuse(
                    f"the shape of its carried value '{value.name}' is not known, or changes from "
                    "one iteration to the next",
                    "Give it one static shape for all iterations, for example by padding.",
                )

    def lower(self) -> None:
        call = self.call
        limit, condition = self._limit(), self._condition()
        if limit is None and condition is None:
            raise call.refuse("nothing ends it", "Give it a limit or a condition.")
        body = _Body.of(call, self.graph)
        around = _around(call, captured(self.graph))
        counter = Value(self.builder.constant(np.array(0, np.int64)), ())
        computed = None if limit is None or limit.data is not None else Value(limit, ())
        start = [call.operand(2 + index) for index in range(self.carried)]
        stacks = [self._empty_stack(index) for index in self.stacked]
        circulating = _present([counter, computed, condition, *start, *stacks, *around.values()])
        test = self._test(circulating, limit, computed, condition)
        self._write_body(body, counter, computed, condition, start, stacks, around)
        bodies = {"condSubgraphIndex": test, "bodySubgraphIndex": body.finish()}
        inputs = [value.tensor for value in circulating]
        ends = _add(call, "WHILE", inputs, bodies["bodySubgraphIndex"], bodies)
        first = len(_present([counter, computed, condition]))
        for index, value in enumerate(start):
            call.finish(Value(ends[first + index], value.perm), index)
        for position, index in enumerate(self.stacked):
            tensor = ends[first + self.carried + position]
            call.finish(Value(tensor, identity(len(tensor.shape))), index)

    def _limit(self) -> Tensor | None:
        """The number of iterations, int64; None where there is none."""
        known = self.call.constant(0)
        if known is not None:
            number = int(known.reshape(()))
            if number >= ENDLESS:
                return None
            return self.builder.constant(np.array(number, np.int64))
        if not self.call.has(0):
            return None
        return self.builder.reshape(self.call.operand(0).tensor, ())

    def _condition(self) -> Value | None:
        """The first condition; None where it is true for ever."""
        known = self.call.constant(1)
        given = self.call.has(1)
        if goes_on(self.graph) and (not given or (known is not None and bool(known.all()))):
            return None
        if known is not None or not given:
            first = True if known is None else bool(known.all())
            return Value(self.builder.constant(np.array(first)), ())
        return Value(self.builder.reshape(self.call.operand(1).tensor, ()), ())

    def _empty_stack(self, index: int) -> Value:
        """Case 3: a tensor for all iterations."""
        shape, dtype = self.call.output_shape(index), self.call.output_dtype(index)
        if dtype.name not in _STACKED:
            raise self.call.refuse(
                f"it stacks results of type {dtype}", "Cast them to float32 or int32 before."
            )
        dims, zero = self.builder.ints(shape), self.builder.constant(np.zeros((), dtype))
        tensor = self.builder.add("FILL", [dims, zero], shape, dtype)
        return Value(tensor, identity(len(shape)))

    def _test(
        self,
        circulating: Sequence[Value],
        limit: Tensor | None,
        computed: Value | None,
        condition: Value | None,
    ) -> Graph:
        """The subgraph that tells whether there is another iteration."""
        builder = Builder()
        builder.origin = self.builder.origin
        inputs = [Tensor(v.tensor.shape, v.dtype, v.quantization) for v in circulating]
        builder.graph.inputs.extend(inputs)
        goes: Tensor | None = None
        if limit is not None:
            bound = inputs[1] if limit.data is None else builder.constant(limit.data)
            goes = builder.add("LESS", [inputs[0], bound], (), _BOOL)
        if condition is not None:
            wanted = inputs[1 if computed is None else 2]
            if goes is None:
                goes = builder.copy(wanted, ())
            else:
                goes = builder.add("LOGICAL_AND", [goes, wanted], (), _BOOL)
        assert goes is not None  # the caller has refused a loop without an end
        builder.graph.outputs.append(goes)
        return builder.graph

    def _write_body(
        self,
        body: _Body,
        counter: Value,
        computed: Value | None,
        condition: Value | None,
        start: Sequence[Value],
        stacks: Sequence[Value],
        around: dict[ir.Value, Value],
    ) -> None:
        """Its inputs, its nodes, and its outputs in the same order."""
        graph, builder = self.graph, body.builder
        number = body.parameter(graph.inputs[0], counter)
        kept = [] if computed is None else [body.parameter(None, computed)]
        if condition is None:
            true = Value(builder.constant(np.array(True)), ())
            body.context.values[graph.inputs[1]] = true
        else:
            body.parameter(graph.inputs[1], condition)
        for source, value in zip(graph.inputs[2:], start, strict=True):
            body.parameter(source, value)
        places = [body.parameter(None, stack) for stack in stacks]
        handed_on = [body.parameter(source, value) for source, value in around.items()]
        body.lower(graph)
        one = builder.constant(np.array(1, np.int64))
        following = builder.add(
            "ADD", [number, one], (), INT64, fusedActivationFunction=NO_ACTIVATION
        )
        body.give(Value(following, ()), ())
        for value in kept:
            body.give(value, ())
        if condition is not None:
            goes = body.value(self.call, graph.outputs[0]).tensor
            body.give(Value(builder.reshape(goes, ()), ()), ())
        for source, value in zip(graph.outputs[1:], start, strict=False):
            self._carry(body, source, value)
        for index, place in zip(self.stacked, places, strict=True):
            piece = body.value(self.call, graph.outputs[1 + index])
            body.give(_written(body.builder, place, piece, number), place.perm)
        for value in handed_on:
            body.give(value, value.perm)

    def _carry(self, body: _Body, source: ir.Value, start: Value) -> None:
        value = body.value(self.call, source)
        if value.shape != start.shape:
            raise self.call.refuse(
                f"its carried value '{source.name}' changes shape, from {list(start.shape)} to "
                f"{list(value.shape)}",
                "Give it one shape for all iterations, for example by padding.",
            )
        tensor = body.give(value, start.perm)
        same = start.quantization is tensor.quantization is None or (
            tensor.quantization is not None and tensor.quantization.same_as(start.quantization)
        )
        if tensor.dtype != start.dtype or not same:
            raise self.call.refuse(
                f"its carried value '{source.name}' changes type, scale or zero point",
                "Quantize the model again, without the body of the loop.",
            )


def _written(builder: Builder, place: Value, piece: Value, number: Value) -> Value:
    """The stack with the slice of this iteration in it."""
    linear = builder.linear(piece)
    update = builder.reshape(linear.tensor, (1, *linear.tensor.shape))
    index = builder.add("CAST", [number], (), INT32)
    first = builder.reshape(index, (1,))
    begin = first
    if place.rank > 1:
        rest = builder.ints([0] * (place.rank - 1))
        begin = builder.add(
            "CONCATENATION",
            [first, rest],
            (place.rank,),
            INT32,
            axis=0,
            fusedActivationFunction=NO_ACTIVATION,
        )
    return builder.like("DYNAMIC_UPDATE_SLICE", [place, update, begin], place)


def _around(call: Call, read: Sequence[ir.Value] | dict[ir.Value, None]) -> dict[ir.Value, Value]:
    """The computed values around that bodies read; constants are written into the bodies."""
    context = call.context
    found = {}
    for source in read:
        if context.plan.constant(source) is not None:
            continue
        stored = context.plan.stored.get(source)
        if stored is not None and stored in context.values:
            found[source] = call.builder.dequantize(context.values[stored])
        elif source in context.values:
            found[source] = context.values[source]
        else:
            raise call.refuse(f"value '{source.name}' is never computed", "Check the model.")
    return found


def _check(call: Call, graph: ir.Graph) -> None:
    """Raises UnsupportedOperator where the body holds what has no static shape."""
    for node in graph:
        for value in node.outputs:
            if value.uses() or value.is_graph_output():
                _shape(call, value)
    for value in graph.inputs:
        _shape(call, value)


def _shape(call: Call, value: ir.Value) -> tuple[int, ...]:
    shape = value.shape
    if value.dtype is None:
        raise call.refuse(f"'{value.name}' in its body is no tensor", "Use tensors only.")
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        found = "unknown" if shape is None else str(tuple(str(dim) for dim in shape))
        raise call.refuse(
            f"the shape of '{value.name}' in its body is not static: {found}", _STATIC
        )
    return tuple(int(dim) for dim in shape)  # type: ignore[arg-type]  # all ints, checked above


def _present(values: Sequence[Value | None]) -> list[Value]:
    return [value for value in values if value is not None]


def _tensors(values: dict[ir.Value, Value]) -> list[Tensor]:
    return [value.tensor for value in values.values()]


def _add(
    call: Call, kind: str, inputs: list[Tensor], like: Graph, bodies: dict[str, Graph]
) -> list[Tensor]:
    """Append the operator; its outputs have the form of a body's."""
    outputs = [Tensor(end.shape, end.dtype, end.quantization) for end in like.outputs]
    operator = call.builder.graph.add(kind, inputs, outputs, call.builder.origin, None, {})
    operator.bodies = bodies
    return outputs
