"""Tensors that are written over whole: `x[:] = u`, which is exported as a scatter over every place.

ScatterND and ScatterElements with nothing to combine, and with constant indices that count all
places in order, give their updates. So what was there before need not be computed, nor does a
package promise its quantizations.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as ir

from edgewise.graph import add_initializer, attribute, constant, node_label, static_shape
from edgewise.graph.prepare import settle
from edgewise.targets.apple.whole_layers import sizes


def drop_overwritten(model: ir.Model) -> None:
    """Rewrite the model in place."""
    found = [node for node in model.graph if _is_overwritten(node)]
    for node in found:
        shape = np.array(static_shape(node.outputs[0]), np.int64)
        target = add_initializer(model.graph, f"{node_label(node)}_shape", shape)
        updates = ir.node("Reshape", [node.inputs[2], target], name=node.name)
        model.graph.insert_before(node, updates)
        old, new = node.outputs[0], updates.outputs[0]
        new.type, new.shape = old.type, old.shape
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        new.name, old.name = old.name, None
        model.graph.remove(node, safe=True)
    if found:
        settle(model)


def _is_overwritten(node: ir.Node) -> bool:
    if node.op_type not in ("ScatterND", "ScatterElements") or node.domain not in ("", "ai.onnx"):
        return False
    shape, indices = sizes(node.inputs[0]), constant(node.inputs[1])
    if attribute(node, "reduction", "none") != "none" or indices is None or not shape:
        return False
    if node.op_type == "ScatterElements":
        axis = int(attribute(node, "axis", 0)) % len(shape)
        whole = list(indices.shape) == list(shape)
        return whole and np.array_equal(indices % shape[axis], np.indices(shape)[axis])
    depth = int(indices.shape[-1])
    if depth == 0 or indices.size != prod(shape[:depth]) * depth:
        return False
    tuples = indices.reshape(-1, depth) % np.array(shape[:depth])
    return np.array_equal(tuples, np.indices(shape[:depth]).reshape(depth, -1).T)
