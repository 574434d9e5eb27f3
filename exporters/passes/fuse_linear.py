"""A product with a constant matrix, and the constant vector that is added to it, become one Gemm.

    MatMul(x, W) + b = Gemm(x, W, b)    for a matrix x

Kernels of a linear layer add the bias before they round, and integer kernels before they quantize.
The Gemm takes the name of the product. With an x of more axes it would need a Reshape on either
side: calibration and targets join those where they have a use for it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgewise.exporters.passes.base import (
    Declined,
    PassOutcome,
    is_op,
    keeps_shape,
    make_node,
    replace,
    sole_consumer,
)
from edgewise.graph import add_initializer, constant, consumers, node_label


def fuse_linear(model: ir.Model) -> PassOutcome:
    """Fuse where nothing else reads the product."""
    modified, declined = False, []
    for node in list(model.graph):
        if not is_op(node, "MatMul"):
            continue
        product, matrix = node.outputs[0], constant(node.inputs[1])
        rank = None if product.shape is None else len(product.shape)
        if rank != 2 or matrix is None or matrix.ndim != 2 or matrix.dtype.kind != "f":
            continue
        add = next((n for n in consumers(product) if is_op(n, "Add")), None)
        bias = None if add is None else _bias(add, product, matrix.shape[1])
        if add is None or bias is None:
            continue
        if sole_consumer(product) is None:
            reason = f"the product '{product.name}' is used elsewhere too"
            declined.append(Declined(node_label(node), reason))
            continue
        value = add_initializer(model.graph, f"{node_label(node)}_bias", bias.astype(matrix.dtype))
        gemm = make_node("Gemm", [*node.inputs, value], name=node.name)
        replace(model.graph, add, [gemm])
        model.graph.remove(node, safe=True)
        modified = True
    return PassOutcome(model, modified, tuple(declined))


def _bias(add: ir.Node, product: ir.Value, columns: int) -> np.ndarray | None:
    other = add.inputs[1] if add.inputs[0] is product else add.inputs[0]
    bias = constant(other)
    if bias is None or not keeps_shape(product, bias, add.outputs[0]):
        return None
    if bias.size != 1 and (bias.size != columns or bias.shape[-1] != columns):
        return None
    return np.array(np.broadcast_to(bias.reshape(-1), (columns,)))
