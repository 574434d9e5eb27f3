"""Axes that a reduction drops and an Unsqueeze brings back are kept by the reduction.

    Unsqueeze(ReduceX(x, axes, keepdims = 0), axes) = ReduceX(x, axes, keepdims = 1)

for every reduction of ONNX, ArgMax and ArgMin among them. Nothing else may read the reduced value.
"""

from __future__ import annotations

import onnx_ir as ir

from edgewise.exporters.passes.base import (
    Declined,
    PassOutcome,
    bypass,
    is_op,
    sole_consumer,
)
from edgewise.graph import attribute, constant, node_label


def merge_reductions(model: ir.Model) -> PassOutcome:
    """Merge every such pair; the reduction keeps its name."""
    modified, declined = False, []
    for node in list(model.graph):
        value = node.inputs[0] if is_op(node, "Unsqueeze") else None
        reduction = None if value is None else value.producer()
        if value is None or reduction is None or not _is_reduction(reduction):
            continue
        axes = _axes(reduction)
        back = constant(node.inputs[1])
        if axes is None or back is None or attribute(reduction, "keepdims", 1):
            continue
        rank = len(value.shape or ()) + len(back)
        if sorted(int(axis) % rank for axis in back) != axes:
            continue
        if sole_consumer(value) is None:
            reason = f"the result of '{node_label(reduction)}' is used elsewhere too"
            declined.append(Declined(node_label(node), reason))
            continue
        shape = node.outputs[0].shape
        reduction.attributes.add(ir.AttrInt64("keepdims", 1))
        bypass(model.graph, node, value)
        value.shape = shape
        modified = True
    return PassOutcome(model, modified, tuple(declined))


def _is_reduction(node: ir.Node) -> bool:
    return is_op(node, "ArgMax", "ArgMin") or (
        is_op(node, node.op_type) and node.op_type.startswith("Reduce")
    )


def _axes(node: ir.Node) -> list[int] | None:
    """In order, counted from the front; None where they are computed."""
    data = node.inputs[0]
    if data is None or data.shape is None or node.outputs[0].shape is None:
        return None
    rank = len(data.shape)
    if is_op(node, "ArgMax", "ArgMin"):
        return [int(attribute(node, "axis", 0)) % rank]
    given = node.inputs[1] if len(node.inputs) > 1 else None
    if given is None:
        listed = attribute(node, "axes")
        none = [] if attribute(node, "noop_with_empty_axes", 0) else list(range(rank))
        return none if listed is None else sorted(int(axis) % rank for axis in listed)
    array = constant(given)
    return None if array is None or not array.size else sorted(int(a) % rank for a in array)
