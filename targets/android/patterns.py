"""Float subgraphs that exporters spread out and TFLite has as one operator.

Gelu: `x * 0.5 * (1 + erf(x / sqrt(2)))` in any order and grouping of the factors becomes Gelu(x),
since both compute the same function; TFLite has no Erf. The match starts at Erf:
  1. its input is `x / sqrt(2)` or `x * (1 / sqrt(2))`;
  2. its only reader adds 1;
  3. the product above it, of Mul nodes with one reader each, has exactly the factors
     {x, 0.5, 1 + erf}, where 0.5 may also be a division by 2.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgewise.graph import constant

_TOLERANCE = 1e-4


def fuse_patterns(model: ir.Model) -> bool:
    """Rewrite the graph in place; tells whether it changed."""
    changed = False
    for node in list(model.graph):
        if node.op_type == "Erf":
            changed = _fuse_gelu(model.graph, node) or changed
    return changed


def _fuse_gelu(graph: ir.Graph, erf: ir.Node) -> bool:
    x = _halved_root(erf.inputs[0])
    add = _only_reader(erf.outputs[0])
    if x is None or add is None or add.op_type != "Add":
        return False
    if not any(_is_number(value, 1.0) for value in add.inputs):
        return False
    product = _product(add.outputs[0], x)
    if product is None:
        return False
    gelu = ir.node("Gelu", [x], name=erf.name, attributes={"approximate": "none"})
    output = gelu.outputs[0]
    output.shape, output.type, output.name = product.shape, product.type, product.name
    producer = product.producer()
    if producer is None:
        return False
    graph.insert_before(producer, gelu)
    product.replace_all_uses_with(output, replace_graph_outputs=True)
    _remove_unused(graph, producer)
    return True


def _halved_root(value: ir.Value | None) -> ir.Value | None:
    """Case 1: the x of x / sqrt(2)."""
    node = None if value is None else value.producer()
    if node is None or node.op_type not in ("Div", "Mul"):
        return None
    first, second = node.inputs
    if node.op_type == "Div":
        return first if _is_number(second, math.sqrt(2)) else None
    for scale, other in ((first, second), (second, first)):
        if _is_number(scale, math.sqrt(0.5)):
            return other
    return None


def _product(value: ir.Value, x: ir.Value) -> ir.Value | None:
    """Case 3: walks up until x and one half have both been multiplied in."""
    seen_x = seen_half = False
    while not (seen_x and seen_half):
        node = _only_reader(value)
        if node is None or node.op_type not in ("Mul", "Div"):
            return None
        other = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
        if node.op_type == "Div":
            if node.inputs[0] is not value or not _is_number(other, 2.0) or seen_half:
                return None
            seen_half = True
        elif _is_number(other, 0.5) and not seen_half:
            seen_half = True
        elif other is x and not seen_x:
            seen_x = True
        elif _is_half_of(other, x) and not (seen_x or seen_half):
            seen_x = seen_half = True
        else:
            return None
        value = node.outputs[0]
    return value


def _is_half_of(value: ir.Value | None, x: ir.Value) -> bool:
    node = None if value is None else value.producer()
    if node is None or node.op_type not in ("Mul", "Div") or len(node.inputs) != 2:
        return False
    first, second = node.inputs
    if node.op_type == "Div":
        return first is x and _is_number(second, 2.0)
    return (first is x and _is_number(second, 0.5)) or (second is x and _is_number(first, 0.5))


def _only_reader(value: ir.Value) -> ir.Node | None:
    uses = tuple(value.uses())
    return None if value.is_graph_output() or len(uses) != 1 else uses[0].node


def _is_number(value: ir.Value | None, number: float) -> bool:
    array = constant(value)
    return (
        array is not None
        and array.size == 1
        and bool(np.isclose(float(array.reshape(())), number, rtol=_TOLERANCE, atol=0))
    )


def _remove_unused(graph: ir.Graph, node: ir.Node) -> None:
    """Remove the node, then those before it that nothing reads any more."""
    if any(output.uses() or output.is_graph_output() for output in node.outputs):
        return
    sources = [value.producer() for value in node.inputs if value is not None]
    graph.remove(node, safe=True)
    for source in dict.fromkeys(s for s in sources if s is not None):
        if source.graph is graph:
            _remove_unused(graph, source)
