"""Tensors without elements.

A tensor with an axis of size 0 holds nothing, so its shape says all there is to know: whatever
computes it, it is a constant. What reads only such tensors and constants is then folded by the
standard's own rules (a sum over nothing is 0, a maximum the lowest number), and no target ever has
to compute on nothing.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


def fix_empty_values(model: ir.Model) -> bool:
    """Replace, in place, every computed value without elements by a constant.

    Graph inputs stay as they are; what reads them reads the constant. Returns whether anything was
    replaced. Shapes must have been inferred.
    """
    graph = model.graph
    changed = False
    for value in list(graph.inputs):
        if value.name not in graph.initializers and value.uses() and _is_empty(value):
            empty = _constant(graph, value)
            for reader, index in list(value.uses()):
                reader.replace_input_with(index, empty)
            changed = True
    for node in list(graph):
        if node.op_type == "Constant" or node.graph is None or _has_body(node):
            continue
        for value in node.outputs:
            if _is_empty(value) and (value.uses() or value.is_graph_output()):
                new = _constant(graph, value)
                if value.is_graph_output():
                    new.name, value.name = value.name, new.name
                ir.convenience.replace_all_uses_with(value, new, replace_graph_outputs=True)
                changed = True
    return changed


def _is_empty(value: ir.Value) -> bool:
    return (
        value.const_value is None
        and value.shape is not None
        and value.dtype not in (None, ir.DataType.STRING)  # whose constants have no size in bytes
        and any(dim == 0 for dim in value.shape)
        and all(isinstance(dim, int) for dim in value.shape)
    )


def _constant(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """The output of a new Constant node of the type and shape of the value."""
    assert value.shape is not None and value.dtype is not None  # _is_empty
    tensor = ir.tensor(np.zeros(value.shape.numpy(), value.dtype.numpy()), dtype=value.dtype)
    node = ir.node("Constant", [], {"value": tensor}, name=f"{value.name}/empty")
    new = node.outputs[0]
    new.name, new.shape, new.type = f"{value.name}/empty", value.shape, value.type
    graph.insert_before(graph[0], node)
    return new


def _has_body(node: ir.Node) -> bool:
    """Whether what it computes is decided by a graph of its own, whose shapes may vary."""
    bodies = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(attribute.type in bodies for attribute in node.attributes.values())
