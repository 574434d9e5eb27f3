"""Softmax, where it is spelled out, becomes one node.

    Softmax(x) = exp(x - max(x)) / sum(exp(x - max(x)))

over one axis that is kept. Without the largest value subtracted it is the same function where it is
finite, and Softmax is finite where it is not. The quotient may be a product with the reciprocal.
"""

from __future__ import annotations

import onnx_ir as ir

from edgewise.exporters.passes.base import (
    Declined,
    PassOutcome,
    is_op,
    make_node,
    producer,
    replace,
)
from edgewise.graph import attribute, constant, node_label


def fuse_softmax(model: ir.Model) -> PassOutcome:
    """Fuse every match; what else reads the powers keeps them, and nothing is computed twice."""
    modified, declined = False, []
    for node in list(model.graph):
        parts = _quotient(node)
        if parts is None:
            continue
        powers, total = parts
        axis = _kept_axis(total)
        exp = producer(powers, "Exp")
        if exp is None or exp.inputs[0] is None or total.inputs[0] is not powers:
            continue
        if axis is None:
            reason = "its sum runs over several axes, or over none that is known"
            declined.append(Declined(node_label(node), reason))
            continue
        new = make_node(
            "Softmax",
            [_shifted(exp.inputs[0], axis) or exp.inputs[0]],
            name=node.name,
            attributes=[ir.AttrInt64("axis", axis)],
        )
        replace(model.graph, node, [new])
        modified = True
    return PassOutcome(model, modified, tuple(declined))


def _quotient(node: ir.Node) -> tuple[ir.Value, ir.Node] | None:
    """What is divided, and the ReduceSum that it is divided by."""
    if is_op(node, "Div"):
        total = producer(node.inputs[1], "ReduceSum")
        return (node.inputs[0], total) if total is not None and node.inputs[0] else None
    if not is_op(node, "Mul"):
        return None
    for powers, other in (node.inputs, node.inputs[::-1]):
        inverse = producer(other, "Reciprocal")
        total = None if inverse is None else producer(inverse.inputs[0], "ReduceSum")
        if total is not None and powers is not None:
            return powers, total
    return None


def _kept_axis(reduction: ir.Node) -> int | None:
    """The one axis that a reduction runs over and keeps, counted from the front."""
    data = reduction.inputs[0]
    if data is None or data.shape is None or not attribute(reduction, "keepdims", 1):
        return None
    axes = constant(reduction.inputs[1]) if len(reduction.inputs) > 1 else None
    if axes is None or axes.size != 1:
        return None
    return int(axes.reshape(())) % len(data.shape)


def _shifted(value: ir.Value, axis: int) -> ir.Value | None:
    """`x` where the value is x - max(x), over the same axis."""
    difference = producer(value, "Sub")
    if difference is None:
        return None
    x, largest = difference.inputs
    reduction = producer(largest, "ReduceMax")
    if reduction is None or reduction.inputs[0] is not x or _kept_axis(reduction) != axis:
        return None
    return x
