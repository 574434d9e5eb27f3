"""The walk that replaces nodes by their expansions, until nothing is left to replace.

A node is replaced by
  1. the expansion that the table has for its operator, written for few nodes and exactness; or else
  2. the function body that the ONNX standard gives the operator (see `body`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from edgewise.graph.expand.body import expand_by_body, has_body
from edgewise.graph.expand.expansion import CannotExpand, Expansion
from edgewise.graph.expand.table import EXPANSIONS, Expand
from edgewise.graph.prepare import settle

_STANDARD = ("", "ai.onnx")


def expand(
    model: ir.Model,
    wanted: Callable[[ir.Node], bool],
    *,
    by_body: bool = True,
    loops: bool = False,
    table: Mapping[str, Expand] = EXPANSIONS,
) -> dict[ir.Node, CannotExpand]:
    """Replace, in place, every node that is wanted gone and can be written in simpler ones.

    An expansion may use operators that are expanded in their turn. Shapes of what is new are
    inferred and constants folded after each round.

    Args:
        model: from `edgewise.graph.prepare`.
        wanted: whether the caller cannot express a node of the ONNX standard.
        by_body: expand operators without an entry in the table by their function body, too.
        loops: long sequences become a Loop; without it each step is written out.
        table: the expansions, by operator.

    Returns:
        The nodes that an expansion declined, with its reason; they stand as they were.
    """
    declined: dict[ir.Node, CannotExpand] = {}
    final: set[ir.Node] = set()
    opset = int(model.opset_imports.get("", model.opset_imports.get("ai.onnx", 1)))
    changed = True
    while changed:
        changed = False
        shapes: dict[ir.Value, ir.Shape] = {}
        declined.clear()  # what is declined now may be taken once more shapes are known
        for node in list(model.graph.all_nodes()):
            if node.domain not in _STANDARD or not wanted(node) or node in final:
                continue
            function: Expand | None = table.get(node.op_type)
            if function is None and by_body and has_body(node, opset):
                function = expand_by_body
            if function is None or node.graph is None:
                continue
            expansion = Expansion(node, opset, loops=loops)
            try:
                results = function(expansion)
            except CannotExpand as reason:
                declined[node] = reason
                _discard(expansion)
            else:
                shapes |= _replace(expansion, results)
                final |= expansion.final
                changed = True
        if changed:
            _settle(model, shapes)
    return declined


def _discard(expansion: Expansion) -> None:
    """What was made before the node was declined is no reader of anything."""
    for node in expansion.nodes:
        for index in range(len(node.inputs)):
            node.replace_input_with(index, None)


def _settle(model: ir.Model, shapes: Mapping[ir.Value, ir.Shape]) -> None:
    """Infer and fold; `shapes` are used where inference finds none."""
    settle(model)
    missing = [value for value in shapes if value.shape is None]
    for value in missing:
        value.shape = shapes[value]
    if missing:
        settle(model)


def _replace(expansion: Expansion, results: Sequence[ir.Value | None]) -> dict[ir.Value, ir.Shape]:
    """Gives the shapes that the results had under the old node."""
    shapes: dict[ir.Value, ir.Shape] = {}
    node = expansion.node
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    for value in expansion.constants:
        graph.register_initializer(value)
    graph.insert_before(node, expansion.nodes)
    for old, new in zip(node.outputs, results, strict=True):
        if new is None:
            continue
        if old.is_graph_output() and (new.producer() is None or new.is_graph_output()):
            new = _copy(graph, node, new)
        if old.shape is not None:
            shapes[new] = old.shape
        new.type = new.type if new.type is not None else old.type
        if old.is_graph_output():
            new.name, old.name = old.name, None
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    return shapes


def _copy(graph: ir.Graph, before: ir.Node, value: ir.Value) -> ir.Value:
    """An output of the graph must be computed by a node, and be no other output."""
    node = ir.node("Identity", [value], name=f"{before.name}/Identity")
    graph.insert_before(before, node)
    return node.outputs[0]
