"""Layers that ONNX spells out with several nodes, as one node where Core ML has one operation.

1. `x @ W + b` with a constant matrix (or a quantized one) and a constant vector: Gemm over the last
   axis of an `x` of any rank, which is what MIL's `linear` computes. Core ML adds the bias inside
   the layer, and Apple's quantizers leave nothing between a product and its bias.
2. `x * sigmoid(x)`: Swish. `x * hardsigmoid(x)` with alpha 1/6 and beta 1/2: HardSwish.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from edgewise.graph import attribute, constant, consumers
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE

_STANDARD = ("", "ai.onnx")


def join_layers(model: ir.Model) -> None:
    """Rewrite the model in place; the new nodes carry the names of the last old ones."""
    for node in list(model.graph):
        if node.domain not in _STANDARD:
            continue
        if node.op_type == "MatMul":
            _join_bias(model.graph, node)
        elif node.op_type in ("Sigmoid", "HardSigmoid"):
            _join_gate(model.graph, node)


def _join_bias(graph: ir.Graph, product: ir.Node) -> None:
    weight, result = product.inputs[1], product.outputs[0]
    add = _sole_reader(result, "Add")
    if add is None or not is_fixed(weight) or is_fixed(product.inputs[0]):
        return
    bias = add.inputs[1] if add.inputs[0] is result else add.inputs[0]
    columns = sizes(weight)
    if not is_fixed(bias) or columns is None or len(columns) != 2:
        return
    shape, whole = sizes(bias), result.shape
    if shape is None or whole is None or len(whole) < 2 or len(shape) > len(whole):
        return
    if math.prod(shape) != 1 and shape[-1:] != columns[1:]:
        return
    if math.prod(shape) not in (1, columns[1]):
        return
    layer = ir.node("Gemm", [product.inputs[0], weight, bias], name=product.name)
    _replace(graph, [product, add], layer)


def _join_gate(graph: ir.Graph, gate: ir.Node) -> None:
    x, result = gate.inputs[0], gate.outputs[0]
    product = _sole_reader(result, "Mul")
    if product is None or x is None or set(product.inputs) != {x, result}:
        return
    if gate.op_type == "HardSigmoid":
        alpha, beta = attribute(gate, "alpha", 0.2), attribute(gate, "beta", 0.5)
        if not math.isclose(alpha, 1 / 6, rel_tol=1e-6) or beta != 0.5:
            return
    joined = "Swish" if gate.op_type == "Sigmoid" else "HardSwish"
    _replace(graph, [gate, product], ir.node(joined, [x], name=product.name))


def is_fixed(value: ir.Value | None) -> bool:
    """Whether the value depends on constants alone: one itself, perhaps quantized."""
    if value is None:
        return False
    if constant(value) is not None:
        return True
    producer = value.producer()
    return (
        producer is not None
        and producer.op_type in (QUANTIZE, DEQUANTIZE, "Transpose", "Reshape")
        and is_fixed(producer.inputs[0])
    )


def sizes(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape where every dimension is a number, else None."""
    if value is None or value.shape is None:
        return None
    found = tuple(dim for dim in value.shape if isinstance(dim, int))
    return found if len(found) == len(value.shape) else None


def _sole_reader(value: ir.Value, op_type: str) -> ir.Node | None:
    readers = consumers(value)
    if len(value.uses()) != 1 or value.is_graph_output():
        return None
    node = readers[0]
    return node if node.op_type == op_type and node.domain in _STANDARD else None


def _replace(graph: ir.Graph, old: list[ir.Node], new: ir.Node) -> None:
    """`new` takes the place and the output of the last of the old nodes."""
    last = old[-1].outputs[0]
    graph.insert_before(old[-1], new)
    output = new.outputs[0]
    output.type, output.shape = last.type, last.shape
    ir.convenience.replace_all_uses_with(last, output, replace_graph_outputs=True)
    output.name, last.name = last.name, None
    graph.remove(old[::-1], safe=True)
