"""A product with a constant matrix, then the addition of a constant vector, as one Gemm.

    x @ W + b = spread(Gemm(rows(x), W, b))

where `rows` reads all axes but the last as one, and `spread` reads them apart again; neither is
needed for a matrix. Kernels of a linear layer add the bias before they round, and integer kernels
before they quantize. A Relu or Clip that alone reads the sum stays next to the Gemm, because such
kernels apply it too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.graph.read import constant
from edgewise.graph.write import add_initializer, names_of_values

_STANDARD = ("", "ai.onnx")
_ACTIVATIONS = ("Clip", "Relu")


@dataclass(frozen=True, slots=True)
class LinearLayer:
    """A product and the sum behind it. `shape` is that of the sum, -1 for the one dimension that
    may be free; `activation` is the only reader of the sum."""

    product: ir.Node
    add: ir.Node
    activation: ir.Node | None
    matrix: npt.NDArray[Any]
    bias: npt.NDArray[Any]
    shape: tuple[int, ...]

    @property
    def nodes(self) -> list[ir.Node]:
        return [n for n in (self.product, self.add, self.activation) if n is not None]


def join_biases(model: ir.Model, keep: Collection[str] = ()) -> dict[str, str]:
    """Join them in place, except for nodes whose names are to be kept.

    The Gemm takes the product's name, and what the layer gives keeps its own.

    Returns:
        The names of new tensors, each with that of an old one that holds the same elements.
    """
    aliases: dict[str, str] = {}
    taken = names_of_values(model.graph)
    for node in list(model.graph):
        layer = linear_layer(node)
        if layer is not None and not {n.name for n in layer.nodes} & set(keep):
            aliases |= _join(model.graph, layer, taken)
    return aliases


def linear_layer(product: ir.Node) -> LinearLayer | None:
    """The layer of a MatMul node, if it is one: the sum alone reads the product."""
    if product.op_type != "MatMul" or product.domain not in _STANDARD:
        return None
    matrix, result = constant(product.inputs[1]), product.outputs[0]
    add = _sole_reader(result, "Add")
    if constant(product.inputs[0]) is not None or matrix is None or matrix.ndim != 2:
        return None
    if add is None or result.shape is None or len(result.shape) < 2:
        return None
    bias = constant(add.inputs[1] if add.inputs[0] is result else add.inputs[0])
    if bias is None or bias.ndim > len(result.shape):
        return None
    if bias.size != 1 and (bias.size != matrix.shape[1] or bias.shape[-1] != bias.size):
        return None
    shape = tuple(dim if isinstance(dim, int) else -1 for dim in result.shape)
    if shape.count(-1) > 1 or shape[-1] == -1:
        return None
    vector = np.array(np.broadcast_to(bias.reshape(-1), matrix.shape[1:]))
    activation = _sole_reader(add.outputs[0], *_ACTIVATIONS)
    return LinearLayer(product, add, activation, matrix, vector, shape)


def _sole_reader(value: ir.Value, *op_types: str) -> ir.Node | None:
    uses = tuple(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    node = uses[0].node
    return node if node.op_type in op_types and node.domain in _STANDARD else None


def _join(graph: ir.Graph, layer: LinearLayer, taken: set[str | None]) -> dict[str, str]:
    x, weights = layer.product.inputs
    last = layer.nodes[-1]
    old, middle = last.outputs[0], layer.add.outputs[0].name or ""
    count = -1 if -1 in layer.shape else prod(layer.shape[:-1])
    flat = len(layer.shape) > 2
    chain = _Chain(graph, last, taken)
    aliases: dict[str, str] = {}
    if flat:
        target = chain.ints(f"{middle}_rows_shape", (count, layer.matrix.shape[0]))
        aliases[f"{middle}_rows"] = "" if x is None else x.name or ""
        x = chain.append("Reshape", [x, target], f"{middle}_rows", f"{middle}_rows")
    bias = add_initializer(graph, f"{middle}_bias", layer.bias, taken)
    result = chain.append("Gemm", [x, weights, bias], layer.product.name, f"{middle}_flat")
    aliases[f"{middle}_flat"] = middle
    if layer.activation is not None:
        after = f"{old.name}_flat"
        limits = layer.activation.inputs[1:]
        result = chain.append(
            layer.activation.op_type, [result, *limits], layer.activation.name, after
        )
        aliases[after] = old.name or ""
    for value in chain.values[1 if flat else 0 :]:
        value.shape = ir.Shape([None if count == -1 else count, layer.bias.size])
    if flat:
        chain.values[0].shape = ir.Shape([None if count == -1 else count, layer.matrix.shape[0]])
        target = chain.ints(f"{old.name}_shape", layer.shape)
        result = chain.append("Reshape", [result, target], f"{old.name}_spread", None)
    result.shape = old.shape
    aliases.pop(result.name or "", None)
    ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
    result.name, old.name = old.name, None
    graph.remove(layer.nodes[::-1], safe=True)
    return aliases


class _Chain:
    """Nodes that are inserted before one, each reading what the last one gave."""

    def __init__(self, graph: ir.Graph, before: ir.Node, taken: set[str | None]) -> None:
        self.graph = graph
        self.before = before
        self.taken = taken
        self.values: list[ir.Value] = []

    def append(
        self, op_type: str, inputs: Sequence[ir.Value | None], name: str | None, output: str | None
    ) -> ir.Value:
        node = ir.node(op_type, list(inputs), name=name)
        self.graph.insert_before(self.before, node)
        value = node.outputs[0]
        value.name, value.type = output, self.before.outputs[0].type
        self.taken.add(output)
        self.values.append(value)
        return value

    def ints(self, name: str, numbers: Sequence[int]) -> ir.Value:
        return add_initializer(self.graph, name, np.array(numbers, np.int64), self.taken)
