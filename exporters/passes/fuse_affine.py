"""A product and a sum per channel, of an image, become one layer.

    Add(Mul(x, s), t) = Conv(x, s, t)    1 x 1, with a group for each channel

So does a normalization that stands alone, where exporters have spelled it out: `layers` tells why.
Constants have one value per channel (axis 1 of four), and no factor is 0. What follows a layer is
part of that already (`fold_affine`, `fold_scales`).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgewise.exporters.passes.base import (
    Declined,
    PassOutcome,
    is_op,
    keeps_shape,
    replace,
    sole_consumer,
)
from edgewise.exporters.passes.layers import Vector, channel_layer
from edgewise.graph import constant, node_label


def fuse_affine(model: ir.Model) -> PassOutcome:
    """Fuse where nothing else reads the product. The layer takes the name of the product."""
    modified, declined = False, []
    for node in list(model.graph):
        factor = _operand(node, "Mul")
        if factor is None:
            continue
        product = node.outputs[0]
        readers = [use.node for use in product.uses()]
        add = next((n for n in readers if _operand(n, "Add") is not None), None)
        term = None if add is None else _operand(add, "Add")
        if add is None or term is None or term[0] is not product:
            continue
        if sole_consumer(product) is None or not factor[1].all():
            reason = (
                f"'{product.name}' is used elsewhere too" if factor[1].all() else "a factor is 0"
            )
            declined.append(Declined(node_label(node), reason))
            continue
        layer = channel_layer(model.graph, factor[0], factor[1], term[1], node_label(node))
        replace(model.graph, add, [layer])
        model.graph.remove(node, safe=True)
        modified = True
    return PassOutcome(model, modified, tuple(declined))


def _operand(node: ir.Node, op_type: str) -> tuple[ir.Value, Vector] | None:
    """What is computed on, and the constant with one value per channel."""
    if not is_op(node, op_type):
        return None
    for data, other in (node.inputs, node.inputs[::-1]):
        array = constant(other)
        if data is None or array is None or constant(data) is not None or data.shape is None:
            continue
        channels = data.shape[1] if len(data.shape) == 4 else None
        sizes = [1] * (4 - array.ndim) + list(array.shape)
        if sizes != [1, channels, 1, 1] or array.dtype != np.float32 or channels == 1:
            continue
        if keeps_shape(data, array, node.outputs[0]):
            return data, array.astype(np.float64).reshape(-1)
    return None
