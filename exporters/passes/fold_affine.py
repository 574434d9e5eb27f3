"""Sums and products with constants behind a layer become part of its weights and its bias.

TensorFlow and TorchScript write a BatchNormalization that does not learn as a product and a sum, or
as a sum and a difference. With s and t of one value per output channel, or a single number:

1. Mul(y, s), Div(y, 1 / s)                    -> scale s
2. Add(y, t), Sub(y, -t)                       -> shift t
3. Sub(t, y)                                   -> scale -1, shift t
4. Conv(y, s, t) of 1 x 1, each channel alone  -> scale s, shift t; so `fold_batch_normalization`
   writes a BatchNormalization that something stood before, which another pass has removed since

where y is what a Conv, ConvTranspose or Gemm gives, and nothing else reads it. `layers` has the
algebra. Transposes, each with one reader, may lie between, because a value per channel stays one:
the axis that the constant varies along has to be the layer's axis of channels. Factors of 0 stay: a
channel of nothing has no scale that its weights could be quantized with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgewise.exporters.passes.base import (
    Array,
    Declined,
    PassOutcome,
    bypass,
    is_op,
    keeps_shape,
    producer,
)
from edgewise.exporters.passes.layers import LAYERS, Vector, change_layer, channels_of
from edgewise.exporters.passes.merge_transposes import permutation
from edgewise.graph import attribute, constant, consumers, node_label

_OPERATORS = ("Add", "Div", "Mul", "Sub")


@dataclass(frozen=True, slots=True, eq=False)
class _Affine:
    """`scale * y + shift`: arrays of any shape, or numbers."""

    y: ir.Value
    scale: Array
    shift: Array


def fold_affine(model: ir.Model) -> PassOutcome:
    """Fold from the front, so that the next one finds the layer behind the last."""
    modified, declined = False, []
    for node in list(model.graph):
        affine = _affine(node)
        layer = None if affine is None else _layer_before(affine.y)
        if affine is None or layer is None:
            continue
        reason = _fold(model.graph, node, affine, *layer)
        if reason is None:
            modified = True
        elif reason:
            declined.append(Declined(node_label(node), reason))
    return PassOutcome(model, modified, tuple(declined))


def _affine(node: ir.Node) -> _Affine | None:
    """Cases 1 to 4."""
    if is_op(node, "Conv"):
        return _lone_channels(node)
    if not is_op(node, *_OPERATORS):
        return None
    one, zero = np.ones(()), np.zeros(())
    for index in (0, 1):
        y, array = node.inputs[index], constant(node.inputs[1 - index])
        if y is None or array is None or constant(y) is not None or array.dtype.kind != "f":
            continue
        if not keeps_shape(y, array, node.outputs[0]):
            return None
        wide = array.astype(np.float64)
        if is_op(node, "Add"):
            return _Affine(y, one, wide)
        if is_op(node, "Sub"):
            return _Affine(y, one, -wide) if index == 0 else _Affine(y, -one, wide)
        if is_op(node, "Mul"):
            return _Affine(y, wide, zero)
        if index == 0 and wide.all():
            return _Affine(y, 1.0 / wide, zero)
    return None


def _lone_channels(node: ir.Node) -> _Affine | None:
    """Case 4."""
    y, weight = node.inputs[0], constant(node.inputs[1])
    if y is None or weight is None or weight.size != attribute(node, "group", 1):
        return None
    moves = [*attribute(node, "pads", []), *(step - 1 for step in attribute(node, "strides", []))]
    if weight.size != weight.shape[0] or any(moves):
        return None
    bias = np.zeros(weight.size)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        if (found := constant(node.inputs[2])) is None:
            return None
        bias = found
    shape = (1, -1, *weight.shape[2:])
    scale, shift = (part.astype(np.float64).reshape(shape) for part in (weight, bias))
    return _Affine(y, scale, shift)


def _layer_before(value: ir.Value) -> tuple[ir.Node, int] | None:
    """The layer, and the axis of `value` that its channels lie along."""
    moved = []
    while (transpose := producer(value, "Transpose")) is not None:
        order, source = permutation(transpose), transpose.inputs[0]
        if order is None or source is None:
            return None
        moved.append(order)
        value = source
    layer = value.producer()
    if layer is None or not is_op(layer, *LAYERS):
        return None
    axis = 1
    for order in reversed(moved):
        axis = order.index(axis)
    return layer, axis


def _fold(graph: ir.Graph, node: ir.Node, affine: _Affine, layer: ir.Node, axis: int) -> str | None:
    """A text says why not; an empty one where nobody would expect it."""
    channels, shape = channels_of(layer), affine.y.shape
    if channels is None or shape is None:
        return f"the weights of '{node_label(layer)}' are computed in the graph"
    vectors = [_per_channel(a, axis, len(shape), channels) for a in (affine.scale, affine.shift)]
    scale, shift = vectors
    if scale is None or shift is None:
        return ""  # such as a position embedding
    if not (np.isfinite(scale).all() and np.isfinite(shift).all() and scale.all()):
        return "its constant holds zeros, infinities or NaN"
    if not _alone(affine.y, node):
        return f"the result of '{node_label(layer)}' is used elsewhere too"
    if node.outputs[0].is_graph_output() and affine.y.is_graph_input():
        return "its result is a graph output"
    reason = change_layer(graph, layer, scale, shift)
    if reason is None:
        bypass(graph, node, affine.y)
    return reason


def _alone(value: ir.Value, reader: ir.Node) -> bool:
    """Whether nothing but the reader depends on the layer, through all Transposes."""
    while not value.is_graph_output() and consumers(value) == [reader]:
        maker = value.producer()
        if maker is None or not is_op(maker, "Transpose") or maker.inputs[0] is None:
            return True
        value, reader = maker.inputs[0], maker
    return False


def _per_channel(array: Array, axis: int, rank: int, channels: int) -> Vector | None:
    """One value per channel; None where the array varies along another axis."""
    if array.size == 1:
        return np.broadcast_to(array.reshape(-1), (channels,))
    shape = [1] * (rank - array.ndim) + list(array.shape)
    fits = array.size == channels and len(shape) == rank and shape[axis] == channels
    return array.reshape(-1) if fits else None
