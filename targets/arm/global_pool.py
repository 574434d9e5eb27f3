"""ReduceMean over all spatial axes, written as the operator that has an int8 kernel.

    ReduceMean(x, axes=all but the first two, keepdims=1) = GlobalAveragePool(x)

by the definitions of both in the ONNX operator specification; with keepdims=0 a Squeeze of the
same axes follows. Cases left alone: axes that are not constants, that miss a spatial axis or touch
the first two, an input of unknown rank.
"""

from __future__ import annotations

import onnx_ir as ir

from edgewise.graph import attribute, constant


def mean_to_global_pool(model: ir.Model) -> bool:
    """Rewrite every ReduceMean that the identity above allows; gives whether the model changed."""
    changed = False
    for node in list(model.graph):
        if node.op_type == "ReduceMean" and _is_global(node):
            _replace(model.graph, node)
            changed = True
    return changed


def _is_global(node: ir.Node) -> bool:
    source = node.inputs[0]
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if source is None or source.shape is None or axes is None:
        return False
    rank = len(source.shape)
    return rank > 2 and {int(axis) % rank for axis in axes} == set(range(2, rank))


def _replace(graph: ir.Graph, mean: ir.Node) -> None:
    pool = ir.Node("", "GlobalAveragePool", [mean.inputs[0]], name=mean.name)
    nodes, old = [pool], mean.outputs[0]
    if not attribute(mean, "keepdims", 1):
        pool.outputs[0].name = f"{old.name}_kept"
        pool.outputs[0].type = old.type
        squeezed = [pool.outputs[0], mean.inputs[1]]
        nodes.append(ir.Node("", "Squeeze", squeezed, name=f"{mean.name}_squeeze"))
    new = nodes[-1].outputs[0]
    new.shape, new.type = old.shape, old.type
    ir.convenience.replace_nodes_and_values(graph, mean, [mean], nodes, [old], [new])
