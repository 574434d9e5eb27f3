"""The walk that replaces nodes by their expansions, until nothing is left to replace."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from edgewise.graph.expand.expansion import CannotExpand, Expansion
from edgewise.graph.expand.table import EXPANSIONS
from edgewise.graph.prepare import settle

_STANDARD = ("", "ai.onnx")


def expand(model: ir.Model, operators: Collection[str]) -> dict[ir.Node, CannotExpand]:
    """Replace, in place, every node of `operators` that the table can write in simpler ones.

    An expansion may use operators that are expanded in their turn. Shapes of what is new are
    inferred and constants folded after each round.

    Args:
        model: from `edgewise.graph.prepare`, shapes static.
        operators: operators of the ONNX standard that the caller cannot express.

    Returns:
        The nodes that an expansion declined, with its reason; they stand as they were.
    """
    declined: dict[ir.Node, CannotExpand] = {}
    changed = True
    while changed:
        changed = False
        for node in list(model.graph):
            wanted = node.op_type in operators and node.op_type in EXPANSIONS
            if not wanted or node.domain not in _STANDARD or node in declined:
                continue
            try:
                _replace(model.graph, node)
            except CannotExpand as reason:
                declined[node] = reason
            else:
                changed = True
        if changed:
            settle(model)
    return declined


def _replace(graph: ir.Graph, node: ir.Node) -> None:
    expansion = Expansion(node)
    results = EXPANSIONS[node.op_type](expansion)
    for value in expansion.constants:
        graph.register_initializer(value)
    graph.insert_before(node, expansion.nodes)
    for old, new in zip(node.outputs, results, strict=True):
        if new is None:
            continue
        if old.is_graph_output() and (new.producer() is None or new.is_graph_output()):
            new = _copy(graph, node, new)
        new.shape = new.shape if new.shape is not None else old.shape
        new.type = new.type if new.type is not None else old.type
        if old.is_graph_output():
            new.name, old.name = old.name, None
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _copy(graph: ir.Graph, before: ir.Node, value: ir.Value) -> ir.Value:
    """An output of the graph must be computed by a node, and be no other output."""
    node = ir.node("Identity", [value], name=f"{before.name}/Identity")
    graph.insert_before(before, node)
    return node.outputs[0]
