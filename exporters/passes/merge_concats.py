"""A Concat whose result is only concatenated again, along the same axis, is part of the outer one.

Concat(a, Concat(b, c), d) = Concat(a, b, c, d)

"""

from __future__ import annotations

import onnx_ir as ir

from edgewise.exporters.passes.base import (
    Declined,
    PassOutcome,
    is_op,
    make_node,
    replace,
    sole_consumer,
)
from edgewise.graph import attribute, node_label


def merge_concats(model: ir.Model) -> PassOutcome:
    """Merge from the front, so that any depth ends as one node."""
    modified, declined = False, []
    for node in list(model.graph):
        if not is_op(node, "Concat"):
            continue
        operands: list[ir.Value | None] = []
        merged = False
        for value in node.inputs:
            inner = None if value is None else value.producer()
            if inner is None or not is_op(inner, "Concat") or not _same_axis(node, inner):
                operands.append(value)
            elif (
                value is None or sole_consumer(value) is None or list(node.inputs).count(value) > 1
            ):
                reason = f"the result of '{node_label(inner)}' is used elsewhere too"
                declined.append(Declined(node_label(node), reason))
                operands.append(value)
            else:
                operands.extend(inner.inputs)
                merged = True
        if merged:
            axis = ir.AttrInt64("axis", attribute(node, "axis", 0))
            new = make_node("Concat", operands, name=node.name, attributes=[axis])
            replace(model.graph, node, [new])
            modified = True
    return PassOutcome(model, modified, tuple(declined))


def _same_axis(outer: ir.Node, inner: ir.Node) -> bool:
    shape = inner.outputs[0].shape
    axes = [int(attribute(node, "axis", 0)) for node in (outer, inner)]
    if shape is not None:
        axes = [axis % len(shape) for axis in axes]
    return axes[0] == axes[1]
