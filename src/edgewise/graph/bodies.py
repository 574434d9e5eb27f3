"""Bodies of If, Loop and Scan: what they read from around them, how often they run, their shapes.

Standard shape inference forgets the shapes of what a Loop carries, because they may change from one
iteration to the next. Here they are found by induction: assume that the carried values keep the
shapes they start with, infer the body, and see whether it gives these shapes back. If it does they
never change. A loop where it does not keeps unknown shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgewise.graph.read import constant

_STANDARD = ("", "ai.onnx")
#: from here on a limit of iterations is none: what exporters write for it
ENDLESS = 2**31 - 1
#: elements of a constant that says something of shapes
_SMALL = 64


def bodies_of(node: ir.Node) -> list[ir.Graph]:
    """The graphs that the node holds, in the order of its attributes."""
    found = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            found.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            found.extend(attribute.as_graphs())
    return found


def captured(body: ir.Graph) -> list[ir.Value]:
    """The values from around that a body reads, those of inner bodies included, each once."""
    own = {*body.inputs, *body.initializers.values()}
    for node in body:
        own.update(node.outputs)
    read: list[ir.Value] = []
    for node in body:
        read.extend(value for value in node.inputs if value is not None)
        for inner in bodies_of(node):
            read.extend(captured(inner))
    read.extend(body.outputs)
    return [value for value in dict.fromkeys(read) if value not in own]


@dataclass(frozen=True, slots=True)
class Inlined:
    """A copy of a body's nodes, not yet part of a graph; the constants are its initializers."""

    nodes: list[ir.Node]
    constants: list[ir.Value]
    results: list[ir.Value]


def inlined(body: ir.Graph, values: Sequence[ir.Value], stem: str) -> Inlined:
    """Copy a body with `values` in the place of its inputs; names of nodes start with `stem`."""
    copy = body.clone(allow_outer_scope_values=True)
    given = dict(zip(copy.inputs, values, strict=True))
    results = [given.get(value, value) for value in copy.outputs]
    constants = list(copy.initializers.values())
    copy.outputs.clear()
    copy.initializers.clear()
    for old, new in given.items():
        ir.convenience.replace_all_uses_with(old, new)
    for constant_value in constants:
        constant_value.name = f"{stem}/{constant_value.name}"
    nodes = list(copy)
    for index, node in enumerate(copy.all_nodes()):
        node.name = f"{stem}/{node.name or index}"
        name_outputs(node)
        for output in node.outputs:
            output.shape = None  # that of any iteration; this one's may be known better
    copy.remove(nodes)
    return Inlined(nodes, constants, results)


def name_outputs(node: ir.Node) -> None:
    """Names that no other graph of the model has: those that a graph gives on its own may be taken
    in a body, and inference confuses the two."""
    for index, output in enumerate(node.outputs):
        output.name = f"{node.name}:{index}"


def trip_count(loop: ir.Node) -> int | None:
    """How often a Loop runs, when that is known; None where data decide."""
    limit, start = _scalar(loop, 0), _scalar(loop, 1)
    if limit is not None and int(limit) <= 0:
        return 0
    if start is not None and not start:
        return 0
    if limit is None or int(limit) >= ENDLESS or (_given(loop, 1) and start is None):
        return None
    return int(limit) if goes_on(loop.attributes["body"].as_graph()) else None


def goes_on(body: ir.Graph) -> bool:
    """Whether the body of a Loop hands on its condition, or always gives true."""
    value = body.outputs[0]
    node = value.producer()
    while node is not None and node.op_type == "Identity" and node.domain in _STANDARD:
        source = node.inputs[0]
        if source is None:
            return False
        value, node = source, source.producer()
    known = constant(value)
    return value is body.inputs[1] or (known is not None and bool(known.all()))


def _given(node: ir.Node, index: int) -> bool:
    return index < len(node.inputs) and node.inputs[index] is not None


def _scalar(node: ir.Node, index: int) -> int | float | bool | None:
    known = constant(node.inputs[index]) if _given(node, index) else None
    return None if known is None or known.size != 1 else known.reshape(()).item()


def sink_constants(model: ir.Model) -> None:
    """Give every body copies of the small integer constants that it reads from around, in place.

    Shape inference knows the numbers of a graph's own constants only, and shapes, axes and sizes
    are such numbers.
    """
    for node in list(model.graph.all_nodes()):
        for body in bodies_of(node):
            for value in captured(body):
                known = constant(value)
                if known is None or known.dtype != np.int64 or known.size > _SMALL:
                    continue
                copy = ir.Value(
                    name=f"{value.name}@{body.name}",
                    shape=value.shape,
                    type=value.type,
                    const_value=value.const_value,
                )
                readers = [use for use in value.uses() if use.node.graph is body]
                if readers:
                    body.register_initializer(copy)
                for use in readers:
                    use.node.replace_input_with(use.idx, copy)


def infer_loop_shapes(model: ir.Model, infer: Callable[[ir.Model], None]) -> bool:
    """Find the shapes inside and behind every Loop, in place, with `infer` for everything else.

    Gives whether any shape was found that `infer` alone does not find.
    """
    loops = [node for node in model.graph.all_nodes() if _is_loop(node)]
    if not loops:
        return False
    changing: set[ir.Node] = set()
    while not _assume(model, [loop for loop in loops if loop not in changing], changing, infer):
        _forget(model, loops)
        infer(model)
    return len(changing) < len(loops)


def _is_loop(node: ir.Node) -> bool:
    return node.op_type == "Loop" and node.domain in _STANDARD


def _assume(
    model: ir.Model,
    loops: Sequence[ir.Node],
    changing: set[ir.Node],
    infer: Callable[[ir.Model], None],
) -> bool:
    """Spread assumed shapes until nothing is new. A loop that does not keep them joins `changing`,
    and the answer is False: what follows from the assumption is then all over the model."""
    new = True
    while new:
        entered = [_enter(loop) for loop in loops]
        if any(entered):
            infer(model)
        changing.update(loop for loop in loops if _contradicts(loop))
        if changing & {*loops}:
            return False
        left = [_leave(loop) for loop in loops]
        if any(left):
            infer(model)
        new = any(entered) or any(left)
    pending = {loop for loop in loops if not _confirmed(loop)}
    changing.update(pending)
    return not pending


def _carried(loop: ir.Node) -> list[tuple[ir.Value | None, ir.Value, ir.Value, ir.Value]]:
    """Per carried value: the first one, body input, body output, the last one."""
    body = loop.attributes["body"].as_graph()
    count = len(body.inputs) - 2
    given = list(loop.inputs[2 : 2 + count])
    return list(
        zip(given, body.inputs[2:], body.outputs[1 : 1 + count], loop.outputs[:count], strict=False)
    )


def _enter(loop: ir.Node) -> bool:
    """Give the body's inputs the shapes of what the loop starts with; whether any is new."""
    body = loop.attributes["body"].as_graph()
    new = False
    for value in body.inputs[:2]:
        if value.shape is None:
            value.shape = ir.Shape([])
    for first, inside, _, _ in _carried(loop):
        if first is not None and _is_static(first) and inside.shape != first.shape:
            inside.shape = first.shape
            new = True
    return new


def _contradicts(loop: ir.Node) -> bool:
    return any(
        _is_static(inside) and _is_static(result) and inside.shape != result.shape
        for _, inside, result, _ in _carried(loop)
    )


def _confirmed(loop: ir.Node) -> bool:
    return all(
        first is not None
        and _is_static(first)
        and first.shape == inside.shape
        and inside.shape == result.shape
        for first, inside, result, _ in _carried(loop)
    )


def _leave(loop: ir.Node) -> bool:
    """Give the loop's outputs the shapes that its body has confirmed; whether any is new."""
    if not _confirmed(loop):
        return False
    new = False
    carried = _carried(loop)
    for _, inside, _, last in carried:
        if last.shape != inside.shape:
            last.shape = inside.shape
            new = True
    count = trip_count(loop)
    body = loop.attributes["body"].as_graph()
    stacked = zip(body.outputs[1 + len(carried) :], loop.outputs[len(carried) :], strict=False)
    for piece, whole in stacked:
        if count is None or piece.shape is None or not _is_static(piece):
            continue
        shape = ir.Shape([count, *piece.shape])
        if whole.shape != shape:
            whole.shape = shape
            new = True
    return new


def _forget(model: ir.Model, loops: Sequence[ir.Node]) -> None:
    """Drop every shape that may follow from an assumption."""
    for loop in loops:
        for value in loop.attributes["body"].as_graph().inputs[2:]:
            value.shape = None
    for node in model.graph.all_nodes():
        for value in node.outputs:
            value.shape = None


def _is_static(value: ir.Value) -> bool:
    return value.shape is not None and all(isinstance(dim, int) for dim in value.shape)
