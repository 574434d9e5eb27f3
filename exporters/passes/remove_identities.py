"""Nodes that hand their input on unchanged.

1. Identity
2. Dropout outside training, mask unused
3. Cast to the type that the data has
4. Reshape, Flatten, Squeeze, Unsqueeze, Expand to the shape that the data has
5. Transpose that keeps the order of axes
6. Concat, Sum, Mean, Max, Min of a single input; Split into a single part
7. Pad by nothing
8. x + 0, x - 0, x * 1, x / 1, also with tensors of nothing else
9. Clip without bounds
10. Slice of everything, forwards
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgewise.exporters.passes.base import (
    PassOutcome,
    bypass,
    is_op,
    keeps_shape,
    same_shape,
    scalar,
)
from edgewise.graph import attribute, constant

_NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}


def remove_identities(model: ir.Model) -> PassOutcome:
    """Bypass each node that changes nothing; graph inputs that are outputs keep an Identity."""
    modified = False
    for node in list(model.graph):
        source = _unchanged(node)
        if source is not None and any(out.uses() for out in node.outputs[1:]):
            source = None  # case 2: the mask of a Dropout is read
        if source is not None:
            modified |= bypass(model.graph, node, source)
    return PassOutcome(model, modified)


def _unchanged(node: ir.Node) -> ir.Value | None:
    """The input that equals the node's output."""
    data = node.inputs[0] if node.inputs else None
    if data is None or not node.outputs:
        return None
    if is_op(node, *_NEUTRAL):
        return _neutral(node)
    same = (
        is_op(node, "Identity")
        or (is_op(node, "Dropout") and _not_training(node))
        or (is_op(node, "Cast") and data.dtype == ir.DataType(attribute(node, "to")))
        or (
            is_op(node, "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand")
            and same_shape(data, node.outputs[0])
        )
        or (is_op(node, "Transpose") and _keeps_order(node))
        or (is_op(node, "Concat", "Sum", "Mean", "Max", "Min") and len(node.inputs) == 1)
        or (is_op(node, "Split") and len(node.outputs) == 1)
        or (is_op(node, "Pad") and _pads_nothing(node))
        or (is_op(node, "Clip") and _unbounded(node))
        or (is_op(node, "Slice") and _takes_everything(node))
    )
    return data if same else None


def _neutral(node: ir.Node) -> ir.Value | None:
    pairs = [(0, 1)] if is_op(node, "Sub", "Div") else [(0, 1), (1, 0)]
    for data, other in pairs:
        value = node.inputs[data]
        array = constant(node.inputs[other])
        if (
            value is not None
            and array is not None
            and bool((array == _NEUTRAL[node.op_type]).all())
            and keeps_shape(value, array, node.outputs[0])
        ):
            return value
    return None


def _not_training(node: ir.Node) -> bool:
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return True
    return scalar(node.inputs[2]) == 0.0


def _keeps_order(node: ir.Node) -> bool:
    perm = attribute(node, "perm")
    return perm is not None and perm == sorted(perm)


def _pads_nothing(node: ir.Node) -> bool:
    pads = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return pads is not None and not pads.any()


def _unbounded(node: ir.Node) -> bool:
    for index, bound in ((1, -math.inf), (2, math.inf)):
        given = node.inputs[index] if len(node.inputs) > index else None
        if given is not None and scalar(given) != bound:
            return False
    return True


def _takes_everything(node: ir.Node) -> bool:
    steps = constant(node.inputs[4]) if len(node.inputs) > 4 else np.ones(1)
    forwards = steps is not None and bool((steps > 0).all())
    data = node.inputs[0]
    return forwards and data is not None and same_shape(data, node.outputs[0])
