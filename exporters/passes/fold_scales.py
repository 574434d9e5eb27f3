"""A product with constants, such as `query * head_size ** -0.5`, disappears into a linear layer.

    c (x W + b) = x (c W) + c b

and the same holds for a convolution. Let Mul(v, c), or Div(v, 1 / c), be the only reader of v:

1. `c` is a number. Operators that move elements (Reshape, Transpose, ...), each with one reader,
   may lie between the layer and v, because they commute with it.
2. v is a product of two computed matrices, such as the scores of attention:
   c (Q K) = (c Q) K = Q (c K), and case 1 goes on with Q, or else with K.
3. Nothing absorbs c on the way to v, but Mul alone is read by such a product: case 2 goes on with
   the other matrix.
4. The layer's result is split into parts along its last axis, as query, key and value that are
   computed at once. Then each part gets a layer of its own, with its columns of W and b: a common
   quantization scale would cost the part that is scaled down its bits.
5. `c` is a vector over the last axis of a layer, or over the channels of a convolution, as in the
   LayerScale of Touvron et al. 2021 (arXiv:2103.17239): each column or channel takes its own
   factor. Only Transposes, each with one reader, may lie between.

Weights with several readers, such as an embedding that is also the last layer, are not doubled.
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
    make_node,
    producer,
    sole_consumer,
)
from edgewise.exporters.passes.merge_transposes import permutation
from edgewise.graph import add_initializer, attribute, constant, node_label

_MOVING = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


@dataclass(frozen=True, slots=True)
class _Layer:
    """A Conv, Gemm or MatMul with constant weights; `add` is the bias behind a MatMul."""

    node: ir.Node
    add: ir.Node | None = None
    #: case 4: the Split that reads the layer, and the part in question
    split: ir.Node | None = None
    part: int = 0

    @property
    def output(self) -> ir.Value:
        return (self.add or self.node).outputs[0]


def fold_scales(model: ir.Model) -> PassOutcome:
    """Fold every such product."""
    modified, declined = False, []
    for node in list(model.graph):
        found = _factor(node)
        if found is None:
            continue
        value, factor = found
        layer = _single(value) if factor.size == 1 else _channelwise(value, factor)
        if layer is None and factor.size == 1:
            layer = _across(node)
        if layer is None:
            continue
        if not bypass(model.graph, node, value):
            declined.append(Declined(node_label(node), "its result is a graph output"))
            continue
        if layer.split is not None:
            layer = _apart(model.graph, layer, layer.split)
        _scale(model.graph, layer, factor)
        modified = True
    return PassOutcome(model, modified, tuple(declined))


def _factor(node: ir.Node) -> tuple[ir.Value, Array] | None:
    """What is multiplied, and by what, as float64."""
    for data, other in ((0, 1), (1, 0)) if is_op(node, "Mul") else ((0, 1),):
        if not is_op(node, "Mul", "Div"):
            return None
        value, array = node.inputs[data], constant(node.inputs[other])
        if (
            value is None
            or array is None
            or array.dtype != np.float32
            or constant(value) is not None
        ):
            continue
        factor = array.astype(np.float64)
        if not array.size or not np.isfinite(factor).all() or not factor.all():
            continue
        if keeps_shape(value, array, node.outputs[0]):
            return value, factor if is_op(node, "Mul") else 1.0 / factor
    return None


# ---- finding the layer


def _single(value: ir.Value) -> _Layer | None:
    """Cases 1, 2 and 4."""
    while sole_consumer(value) is not None:
        layer = _linear(value)
        if layer is not None:
            return layer
        node = value.producer()
        if node is None:
            return None
        if is_op(node, "Split"):
            return _of_split(node, value)
        if is_op(node, "MatMul"):
            return _of_product(node)
        source = node.inputs[0] if is_op(node, *_MOVING) else None
        if source is None:
            return None
        value = source
    return None


def _of_product(product: ir.Node) -> _Layer | None:
    """Case 2."""
    first, second = product.inputs
    if first is None or second is None or first is second:
        return None
    return _single(first) or _single(second)


def _across(node: ir.Node) -> _Layer | None:
    """Case 3."""
    value = node.outputs[0]
    while (reader := sole_consumer(value)) is not None:
        if is_op(reader, "MatMul"):
            other = reader.inputs[1] if reader.inputs[0] is value else reader.inputs[0]
            return None if other is None or other is value else _single(other)
        if not is_op(reader, *_MOVING) or reader.inputs[0] is not value:
            return None
        value = reader.outputs[0]
    return None


def _channelwise(value: ir.Value, factor: Array) -> _Layer | None:
    """Case 5."""
    if value.shape is None:
        return None
    sizes = [1] * (len(value.shape) - factor.ndim) + list(factor.shape)
    while sole_consumer(value) is not None and (transpose := producer(value, "Transpose")):
        order, source = permutation(transpose), transpose.inputs[0]
        if order is None or source is None:
            return None
        sizes = [sizes[order.index(axis)] for axis in range(len(order))]
        value = source
    layer = _linear(value) if sole_consumer(value) is not None else None
    if layer is None:
        return None
    axis = 1 if is_op(layer.node, "Conv") else len(sizes) - 1
    return layer if sizes[axis] == factor.size == _channels(layer) else None


def _linear(value: ir.Value) -> _Layer | None:
    """The layer that makes the value, where nothing reads it without its bias."""
    node = value.producer()
    if node is None:
        return None
    if is_op(node, "Add"):
        for index in (0, 1):
            product, bias = node.inputs[index], constant(node.inputs[1 - index])
            layer = None if product is None else _linear(product)
            if layer is None or product is None or bias is None or layer.add is not None:
                continue
            vector = bias.size == 1 or (bias.shape[-1] == bias.size == _channels(layer))
            fits = sole_consumer(product) is node and keeps_shape(product, bias, value)
            if is_op(layer.node, "MatMul") and vector and fits:
                return _Layer(layer.node, node)
        return None
    if not is_op(node, "Conv", "Gemm", "MatMul") or constant(node.inputs[1]) is None:
        return None
    if node.inputs[1] is None or len(node.inputs[1].uses()) > 1:
        return None
    if constant(node.inputs[0]) is not None or _weights(node).ndim < 2:
        return None
    bias_value = node.inputs[2] if len(node.inputs) > 2 else None
    return None if bias_value is not None and constant(bias_value) is None else _Layer(node)


def _of_split(split: ir.Node, part: ir.Value) -> _Layer | None:
    """Case 4."""
    source = split.inputs[0]
    layer = _linear(source) if source is not None and sole_consumer(source) is split else None
    if layer is None or source is None or source.shape is None or is_op(layer.node, "Conv"):
        return None
    rank = len(source.shape)
    if int(attribute(split, "axis", 0)) % rank != rank - 1:
        return None
    if _weights(layer.node).ndim != 2:
        return None
    if not all(v.shape is not None and isinstance(v.shape[-1], int) for v in split.outputs):
        return None
    index = next(i for i, output in enumerate(split.outputs) if output is part)
    return _Layer(layer.node, layer.add, split, index)


def _channels(layer: _Layer) -> int:
    return int(_weights(layer.node).shape[_channel_axis(layer.node)])


def _weights(node: ir.Node) -> Array:
    weights = constant(node.inputs[1])
    if weights is None:
        raise ValueError(f"'{node.name}' has no constant weights")
    return weights


def _channel_axis(node: ir.Node) -> int:
    """Where the output channels lie in the weights."""
    if is_op(node, "Conv"):
        return 0
    return 0 if is_op(node, "Gemm") and attribute(node, "transB", 0) else -1


# ---- rewriting


def _apart(graph: ir.Graph, layer: _Layer, split: ir.Node) -> _Layer:
    """One layer for each part of the split; gives that of the part in question."""
    made, start = [], 0
    for index, output in enumerate(split.outputs):
        size = 0 if output.shape is None else output.shape[-1]
        assert isinstance(size, int)
        made.append(_copy(graph, layer, output, index, slice(start, start + size)))
        start += size
    graph.remove(split, safe=True)
    return made[layer.part]


def _copy(graph: ir.Graph, layer: _Layer, output: ir.Value, index: int, columns: slice) -> _Layer:
    """The layer with some of its columns, in the place of one part of the split."""

    def part(value: ir.Value | None, axis: int) -> ir.Value | None:
        array = constant(value)
        if value is None or array is None or not array.ndim or array.shape[axis] == 1:
            return value
        taken = array[columns] if axis == 0 else array[..., columns]
        return add_initializer(graph, f"{value.name}_{index}", taken)

    source = layer.node
    node = make_node(
        source.op_type,
        [
            source.inputs[0],
            part(source.inputs[1], _channel_axis(source)),
            *(part(value, -1) for value in source.inputs[2:]),
        ],
        name=f"{node_label(source)}_{index}",
        attributes=list(source.attributes.values()),
    )
    new, add = [node], None
    if layer.add is not None:
        product = node.outputs[0]
        product.name = f"{source.outputs[0].name}_{index}"
        product.shape, product.type = output.shape, output.type
        operands = [
            product if constant(value) is None else part(value, -1) for value in layer.add.inputs
        ]
        add = make_node("Add", operands, name=f"{node_label(layer.add)}_{index}")
        new.append(add)
    graph.insert_before(layer.add or source, new)
    last = new[-1].outputs[0]
    last.shape, last.type = output.shape, output.type
    ir.convenience.replace_all_uses_with(output, last, replace_graph_outputs=True)
    last.name, output.name = output.name, None
    return _Layer(node, add)


def _scale(graph: ir.Graph, layer: _Layer, factor: Array) -> None:
    """Multiply weights and bias, as new constants: the old ones may have other readers."""
    flat = factor.reshape(-1)
    ahead = _channel_axis(layer.node) == 0
    trailing = [1] * (_weights(layer.node).ndim - 1) if ahead else []
    _multiply(graph, layer.node, 1, flat.reshape([-1, *trailing]))
    if len(layer.node.inputs) > 2 and layer.node.inputs[2] is not None:
        _multiply(graph, layer.node, 2, flat)
    if layer.add is not None:
        slot = next(i for i, v in enumerate(layer.add.inputs) if constant(v) is not None)
        _multiply(graph, layer.add, slot, flat)


def _multiply(graph: ir.Graph, node: ir.Node, slot: int, factor: Array) -> None:
    value = node.inputs[slot]
    array = constant(value)
    if value is None or array is None:
        raise ValueError(f"input {slot} of '{node.name}' is not constant")
    scaled = (array.astype(np.float64) * factor).astype(array.dtype)
    node.replace_input_with(slot, add_initializer(graph, f"{value.name}_scaled", scaled))
