"""Reshape to a shape that the graph computes, where inference knows what comes out.

Exporters write `x.view(x.size(0), -1)` as Shape, Gather, Unsqueeze, Concat and Reshape. In the
constant that replaces the computed shape, per output axis i (ONNX Reshape, allowzero = 0):

1. a known size stands for itself
2. the dimension that the input has at axis i is written 0, "as in the input"
3. one axis that is neither may be -1, "what is left"

With two axes of kind 3 the shape stays computed.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgewise.exporters.passes.base import (
    Declined,
    PassOutcome,
    is_op,
    make_node,
    replace,
)
from edgewise.graph import add_initializer, constant, node_label


def settle_reshapes(model: ir.Model) -> PassOutcome:
    """Write the shape as a constant; the nodes that computed it are left without readers."""
    modified, declined = False, []
    for node in list(model.graph):
        if not is_op(node, "Reshape") or constant(node.inputs[1]) is not None:
            continue
        data, result = node.inputs[0], node.outputs[0]
        target = None if data is None else constant_target(data, result)
        if target is None:
            reason = "its shape is computed from the data, and inference does not know the result"
            declined.append(Declined(node_label(node), reason))
            continue
        shape = add_initializer(
            model.graph, f"{node_label(node)}_shape", np.array(target, np.int64)
        )
        replace(model.graph, node, [make_node("Reshape", [data, shape], name=node.name)])
        modified = True
    return PassOutcome(model, modified, tuple(declined))


def constant_target(data: ir.Value, result: ir.Value) -> list[int] | None:
    """What a Reshape of `data` reads to give `result`; None where that is no constant."""
    if result.shape is None:
        return None
    target: list[int] = []
    for axis, dim in enumerate(result.shape):
        if isinstance(dim, int):
            target.append(dim)
        elif data.shape is not None and axis < len(data.shape) and _same(dim, data.shape[axis]):
            target.append(0)
        else:
            target.append(-1)
    empty = any(isinstance(dim, int) and dim == 0 for dim in result.shape)
    return None if empty or target.count(-1) > 1 else target


def _same(dim: ir.SymbolicDim, other: int | ir.SymbolicDim) -> bool:
    return not isinstance(other, int) and dim.value is not None and dim == other
