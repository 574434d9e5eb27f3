"""Operators in a row that only read the elements apart anew are one Reshape, or none.

1. Reshape, Flatten, Squeeze and Unsqueeze keep the elements in their order. So does a Transpose
   that moves axes of size 1 alone.
2. Two of them are the Reshape of the first one's input to the second one's shape, where that can be
   written as a constant (`settle_reshapes`), and nothing where that is the shape the input has. Two
   such Transposes are left to `merge_transposes`.

The inner node may have other readers: it stays for them, and nothing is computed twice.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgewise.exporters.passes.base import (
    Declined,
    PassOutcome,
    bypass,
    is_op,
    make_node,
    replace,
    same_shape,
)
from edgewise.exporters.passes.merge_transposes import permutation
from edgewise.exporters.passes.settle_reshapes import constant_target
from edgewise.graph import add_initializer, node_label

_VIEWS = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")


def merge_reshapes(model: ir.Model) -> PassOutcome:
    """Merge from the front, so that a chain of any length ends as one node or none."""
    modified, declined = False, []
    for node in list(model.graph):
        inner = _inner(node)
        source = None if inner is None else inner.inputs[0]
        if inner is None or source is None:
            continue
        if same_shape(source, node.outputs[0]) and bypass(model.graph, node, source):
            modified = True
            continue
        target = constant_target(source, node.outputs[0])
        if target is None:
            reason = f"the shape that it and '{node_label(inner)}' lead to is not known"
            declined.append(Declined(node_label(node), reason))
            continue
        shape = add_initializer(
            model.graph, f"{node_label(node)}_shape", np.array(target, np.int64)
        )
        replace(model.graph, node, [make_node("Reshape", [source, shape], name=node.name)])
        modified = True
    return PassOutcome(model, modified, tuple(declined))


def _inner(node: ir.Node) -> ir.Node | None:
    """The node before, where both keep the order, and one is no Transpose."""
    before = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    if before is None or not (_keeps_elements(node) and _keeps_elements(before)):
        return None
    return before if is_op(node, *_VIEWS) or is_op(before, *_VIEWS) else None


def _keeps_elements(node: ir.Node) -> bool:
    """Case 1."""
    if is_op(node, *_VIEWS):
        return True
    order = permutation(node) if is_op(node, "Transpose") else None
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    if order is None or shape is None:
        return False
    large = [axis for axis in order if shape[axis] != 1]
    return large == sorted(large)
