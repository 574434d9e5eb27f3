"""Layers with constant weights, seen the same way whatever their operator: Conv, ConvTranspose,
Gemm, and MatMul with the addition of a bias behind it.

Every weight is the array `w[g, o, i, p]`: of group `g`, what output channel `o` of the group takes
of its input channel `i` at position `p` of the kernel. Channels of all groups are counted through:
output `g * O + o`, input `g * I + i`.

    Conv             (M, C/G, *k)   ->  (G, M/G, C/G, prod(k))
    ConvTranspose    (C, M/G, *k)   ->  (G, C/G, M/G, prod(k)), then o and i change places
    Gemm, MatMul     (K, N) or, with transB, (N, K)  ->  (1, N, K, 1)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.graph import add_initializer, attribute, constant, consumers

Array = npt.NDArray[np.float32]
_STANDARD = ("", "ai.onnx")
LAYER_OPS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True, slots=True)
class Layer:
    """A node with constant weights, and where its bias is."""

    node: ir.Node
    weight: ir.Value
    groups: int
    #: the node that holds the bias: an Add behind a MatMul, else the node itself
    holder: ir.Node

    @property
    def output(self) -> ir.Value:
        return self.holder.outputs[0]

    @property
    def channel_axis(self) -> int:
        """Of the output: 1 of convolutions, the last one of products."""
        return 1 if self.node.op_type in ("Conv", "ConvTranspose") else -1

    @property
    def matrix(self) -> Array:
        """The weight as (G, O, I, P), float32."""
        array = constant(self.weight)
        if array is None:
            raise ValueError(f"weight '{self.weight.name}' is not constant")
        return _canonical(self, array)

    @property
    def outputs(self) -> int:
        groups, rows, _, _ = self.matrix.shape
        return int(groups * rows)

    @property
    def bias(self) -> Array | None:
        """One value per output channel; None without a bias."""
        index = _bias_index(self)
        array = None if index is None else constant(self.holder.inputs[index])
        if array is None:
            return None
        return np.array(np.broadcast_to(array.reshape(-1), (self.outputs,)), np.float32)

    def set_matrix(self, matrix: Array) -> None:
        """Write a weight of the form of `matrix` back."""
        array = constant(self.weight)
        if array is None:
            raise ValueError(f"weight '{self.weight.name}' is not constant")
        _assign(self.weight, _stored(self, matrix, array.shape))

    def set_bias(self, bias: Array) -> None:
        """Write one value per output channel, float32; a layer without bias gets one.

        Raises:
            ValueError: a MatMul has no addition to write to.
        """
        index = _bias_index(self)
        graph = self.node.graph
        if not isinstance(graph, ir.Graph) or (index is None and self.node.op_type == "MatMul"):
            raise ValueError(f"'{self.node.name}' has no place for a bias")
        if index is not None:
            old = self.holder.inputs[index]
            if old is not None and len(old.uses()) == 1 and not old.is_graph_output():
                _assign(old, bias)
                return
            self.holder.replace_input_with(
                index, add_initializer(graph, f"{self.output.name}_bias", bias)
            )
            return
        if len(self.node.inputs) < 3:
            self.node.resize_inputs(3)
        self.node.replace_input_with(2, add_initializer(graph, f"{self.output.name}_bias", bias))

    @property
    def has_place_for_bias(self) -> bool:
        return self.node.op_type != "MatMul" or self.holder is not self.node

    def divide_outputs(self, factors: Array) -> None:
        """w[g, o, i, p] / s[g, o] and b / s; `factors` float32, one per output channel."""
        matrix, bias = self.matrix, self.bias
        self.set_matrix(matrix / factors.reshape(matrix.shape[0], -1, 1, 1))
        if bias is not None:
            self.set_bias(bias / factors)  # beta of a Gemm commutes with it

    def multiply_inputs(self, factors: Array) -> None:
        """w[g, o, i, p] * s[g, i]; `factors` float32, one per input channel."""
        matrix = self.matrix
        self.set_matrix(matrix * factors.reshape(matrix.shape[0], 1, -1, 1))


def layer_of(node: ir.Node) -> Layer | str:
    """The layer that a node is, or why it is none that could be rewritten."""
    if node.op_type not in LAYER_OPS or node.domain not in _STANDARD:
        return f"{node.op_type} has no weights"
    weight = node.inputs[1]
    array = constant(weight)
    if weight is None or array is None:
        return "its weights are not constant"
    if array.dtype != np.float32:
        return f"its weights are {array.dtype}"
    if len(weight.uses()) != 1 or weight.is_graph_output():
        return "its weights are shared with another node"
    if node.op_type == "MatMul":
        if array.ndim != 2:
            return f"its weights have {array.ndim} axes"
        return Layer(node, weight, 1, _bias_addition(node, array.shape[1]) or node)
    if node.op_type == "Gemm" and attribute(node, "transA", 0):
        return "its input is transposed"
    groups = int(attribute(node, "group", 1)) if node.op_type != "Gemm" else 1
    layer = Layer(node, weight, groups, node)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = constant(node.inputs[2])
        if bias is None:
            return "its bias is not constant"
        if bias.size not in (1, layer.outputs) or (bias.size > 1 and bias.shape[-1] != bias.size):
            return "its bias is not one value per output channel"
    return layer


def _bias_addition(product: ir.Node, channels: int) -> ir.Node | None:
    """The Add of a constant vector that alone reads the product."""
    result = product.outputs[0]
    readers = consumers(result)
    if len(readers) != 1 or result.is_graph_output() or result.shape is None:
        return None
    node = readers[0]
    if node.op_type != "Add" or node.domain not in _STANDARD or len(result.uses()) != 1:
        return None
    array = constant(node.inputs[1] if node.inputs[0] is result else node.inputs[0])
    if array is None or array.size != channels or array.shape[-1] != channels:
        return None
    return node if array.ndim <= len(result.shape) else None


def _bias_index(layer: Layer) -> int | None:
    """Which input of the holder is the bias."""
    if layer.holder is not layer.node:
        return 1 if layer.holder.inputs[0] is layer.node.outputs[0] else 0
    if layer.node.op_type == "MatMul" or len(layer.node.inputs) < 3:
        return None
    return None if layer.node.inputs[2] is None else 2


def _canonical(layer: Layer, array: npt.NDArray[np.generic]) -> Array:
    w = np.asarray(array, np.float32)
    if layer.node.op_type in ("Gemm", "MatMul"):
        rows = w if layer.node.op_type == "Gemm" and attribute(layer.node, "transB", 0) else w.T
        return rows[None, :, :, None]
    grouped = w.reshape(layer.groups, w.shape[0] // layer.groups, w.shape[1], -1)
    return grouped if layer.node.op_type == "Conv" else grouped.swapaxes(1, 2)


def _stored(layer: Layer, matrix: Array, shape: tuple[int, ...]) -> Array:
    if layer.node.op_type in ("Gemm", "MatMul"):
        rows = matrix[0, :, :, 0]
        transposed = layer.node.op_type == "Gemm" and attribute(layer.node, "transB", 0)
        return rows if transposed else rows.T
    ordered = matrix if layer.node.op_type == "Conv" else matrix.swapaxes(1, 2)
    return ordered.reshape(shape)


def _assign(value: ir.Value, array: Array) -> None:
    """Give an initializer another array, under its own name."""
    value.const_value = ir.tensor(np.ascontiguousarray(array, np.float32), name=value.name)
    value.shape = ir.Shape(array.shape)
