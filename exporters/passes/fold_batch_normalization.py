"""BatchNormalization becomes part of the layer before it, or a layer of its own.

With mean m, variance v, gamma g, beta b and epsilon e per channel (ONNX BatchNormalization, and
Ioffe & Szegedy 2015, arXiv:1502.03167):

    s = g / sqrt(v + e)
    BN(W x + c) = s (W x + c - m) + b = (s W) x + (s (c - m) + b)

1. After Conv, ConvTranspose or Gemm: see `layers` for how they take s and the rest into their
   weights and their bias.
2. Any other with one or two axes of space: a Conv of 1 x 1 with a group for each channel. Its
   integer kernels add a bias of 32 bits before they round once; a product and a sum would round
   twice, and cost a node more.
3. Any other: a Mul and an Add by constants of one value per channel. So it is where a factor is 0,
   because a channel of nothing has no scale that its weight could be quantized with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgewise.errors import InternalError
from edgewise.exporters.passes.base import (
    Declined,
    PassOutcome,
    bypass,
    is_op,
    make_node,
    replace,
)
from edgewise.exporters.passes.layers import LAYERS, Vector, change_layer, channel_layer
from edgewise.graph import add_initializer, attribute, constant, consumers, node_label

#: of one or two axes of space, for which every target has convolutions of single channels
_SPATIAL_RANKS = (3, 4)


@dataclass(frozen=True, slots=True, eq=False)
class _Affine:
    """`y = scale x + shift` per channel, in float64."""

    scale: Vector
    shift: Vector


def fold_batch_normalization(model: ir.Model) -> PassOutcome:
    """Fold where the producer's result feeds nothing else; else spell it as Mul and Add."""
    modified, declined = False, []
    for node in list(model.graph):
        if not is_op(node, "BatchNormalization"):
            continue
        affine = _affine(node)
        if isinstance(affine, str):
            declined.append(Declined(node_label(node), affine))
            continue
        source = node.inputs[0]
        before = None if source is None else source.producer()
        if before is not None and is_op(before, *LAYERS):
            reason = _fold(model.graph, before, node, affine)
            if reason is None:
                modified = True
                continue
            declined.append(Declined(node_label(node), reason))
        modified |= _spell_out(model.graph, node, affine)
    return PassOutcome(model, modified, tuple(declined))


def _affine(node: ir.Node) -> _Affine | str:
    """Scale and shift, or why they are not known."""
    if attribute(node, "training_mode", 0) or any(out.uses() for out in node.outputs[1:]):
        return "it is in training mode"
    arrays = [constant(value) for value in node.inputs[1:5]]
    if any(array is None for array in arrays):
        return "its statistics are computed in the graph"
    gamma, beta, mean, variance = (a.astype(np.float64) for a in arrays if a is not None)
    scale = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return _Affine(scale, beta - mean * scale)


def _fold(graph: ir.Graph, before: ir.Node, norm: ir.Node, affine: _Affine) -> str | None:
    """Change the weights of `before` and drop `norm`; a text says why that is impossible."""
    result = before.outputs[0]
    if result.is_graph_output() or consumers(result) != [norm]:
        return f"the result of '{node_label(before)}' is used elsewhere too"
    reason = change_layer(graph, before, affine.scale, affine.shift)
    if reason is None and not bypass(graph, norm, result):
        raise InternalError("a made value that is no output can always take another's place")
    return reason


def _spell_out(graph: ir.Graph, node: ir.Node, affine: _Affine) -> bool:
    """Cases 2 and 3. Both need the rank, to line the channels up with axis 1."""
    data = node.inputs[0]
    if data is None or data.shape is None or data.dtype is None:
        return False
    rank, dtype, label = len(data.shape), data.dtype.numpy(), node_label(node)
    if rank in _SPATIAL_RANKS and affine.scale.all():
        replace(graph, node, [channel_layer(graph, data, affine.scale, affine.shift, label)])
        return True
    shape = (-1, *[1] * (rank - 2))
    scale = add_initializer(graph, f"{label}_scale", affine.scale.reshape(shape).astype(dtype))
    shift = add_initializer(graph, f"{label}_shift", affine.shift.reshape(shape).astype(dtype))
    multiply = make_node("Mul", [data, scale], name=f"{label}_scale")
    product = multiply.outputs[0]
    product.name, product.type, product.shape = f"{label}_scaled", data.type, data.shape
    replace(graph, node, [multiply, make_node("Add", [product, shift], name=label)])
    return True
