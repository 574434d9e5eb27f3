"""Operators that ONNX spells out with several nodes, as one node each while Q and DQ are placed.

A kernel that computes the whole quantizes its result alone: nothing inside may be quantized.

1. `x @ W + b` with a constant matrix and a constant vector: Gemm, here over the last axis of an `x`
   of any rank, so that the bias is an int32 bias as that of any other layer.
2. `x * sigmoid(x)` (SiLU, Swish), and `x * hardsigmoid(x)` with alpha 1/6 and beta 1/2 (hard
   swish): HardSwish, which stands for both: what is quantized is the same.

Neither stand-in leaves this stage: `split` spells both out again when all is placed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from edgewise.graph import add_initializer, attribute
from edgewise.graph.joined_bias import linear_layer

_STANDARD = ("", "ai.onnx")
_GATES = ("Sigmoid", "HardSigmoid")


@dataclass(frozen=True, slots=True)
class Sum:
    """What a Gemm stands for: the names of the addition and of the product that it reads."""

    add: str
    product: str


@dataclass(frozen=True, slots=True)
class Gate:
    """What a HardSwish stands for: operator, attributes, name and output of the gate."""

    op_type: str
    attributes: Mapping[str, float]
    name: str
    output: str


@dataclass(slots=True)
class Composites:
    """Stand-ins by name."""

    sums: dict[str, Sum] = field(default_factory=dict)
    gates: dict[str, Gate] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sums or self.gates)


def join(model: ir.Model, exclude: Collection[str]) -> Composites:
    """Put the stand-ins in place; nodes named in `exclude` stay. All nodes have unique names.

    A sum's stand-in has the name of the product, that of a gate the name of the multiplication.
    Both write the value that the last node wrote.
    """
    found = Composites()
    for node in list(model.graph):
        if node.domain not in _STANDARD or node.name in exclude:
            continue
        if node.op_type == "MatMul":
            _join_sum(model.graph, node, exclude, found)
        elif node.op_type in _GATES:
            _join_gate(model.graph, node, exclude, found)
    return found


def _join_sum(
    graph: ir.Graph, product: ir.Node, exclude: Collection[str], found: Composites
) -> None:
    layer = linear_layer(product)
    if layer is None or layer.add.name in exclude:
        return
    name, middle = product.name or "", product.outputs[0].name or ""
    bias = add_initializer(graph, f"{middle}_bias", layer.bias)
    stand_in = ir.node("Gemm", [*product.inputs, bias], name=name)
    found.sums[name] = Sum(layer.add.name or "", middle)
    _replace(graph, [product, layer.add], stand_in)


def _join_gate(graph: ir.Graph, gate: ir.Node, exclude: Collection[str], found: Composites) -> None:
    x, result = gate.inputs[0], gate.outputs[0]
    readers = [use.node for use in result.uses()]
    if len(readers) != 1 or result.is_graph_output() or x is None:
        return
    product = readers[0]
    if product.op_type != "Mul" or product.name in exclude or set(product.inputs) != {x, result}:
        return
    attributes = {name: float(attribute(gate, name)) for name in gate.attributes}
    if gate.op_type == "HardSigmoid" and not _is_hard_swish(attributes):
        return
    name = product.name or ""
    stand_in = ir.node("HardSwish", [x], name=name)
    found.gates[name] = Gate(gate.op_type, attributes, gate.name or "", result.name or "")
    _replace(graph, [gate, product], stand_in)


def _is_hard_swish(attributes: Mapping[str, float]) -> bool:
    alpha, beta = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    return math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5


def _replace(graph: ir.Graph, old: list[ir.Node], new: ir.Node) -> None:
    """`new` takes the place and the output of the last of the old nodes."""
    last = old[-1].outputs[0]
    graph.insert_before(old[-1], new)
    output = new.outputs[0]
    output.type, output.shape = last.type, last.shape
    ir.convenience.replace_all_uses_with(last, output, replace_graph_outputs=True)
    output.name, last.name = last.name, None
    graph.remove(old[::-1], safe=True)


def split(model: ir.Model, composites: Composites) -> None:
    """Spell the stand-ins out, in place."""
    for node in list(model.graph):
        name = node.name or ""
        if name in composites.sums:
            _split_sum(model.graph, node, composites.sums[name])
        elif name in composites.gates:
            _split_gate(model.graph, node, composites.gates[name])


def _split_sum(graph: ir.Graph, node: ir.Node, parts: Sum) -> None:
    x, weight, bias = node.inputs
    product = ir.node("MatMul", [x, weight], name=node.name)
    middle = product.outputs[0]
    middle.name, middle.type, middle.shape = parts.product, node.outputs[0].type, None
    add = ir.node("Add", [middle, bias], name=parts.add)
    _expand(graph, node, [product, add])


def _split_gate(graph: ir.Graph, node: ir.Node, parts: Gate) -> None:
    x = node.inputs[0]
    gate = ir.node(parts.op_type, [x], dict(parts.attributes), name=parts.name)
    middle = gate.outputs[0]
    middle.name, middle.type, middle.shape = parts.output, node.outputs[0].type, None
    product = ir.node("Mul", [x, middle], name=node.name)
    _expand(graph, node, [gate, product])


def _expand(graph: ir.Graph, old: ir.Node, new: list[ir.Node]) -> None:
    graph.insert_before(old, new)
    value, output = old.outputs[0], new[-1].outputs[0]
    output.type, output.shape = value.type, value.shape
    ir.convenience.replace_all_uses_with(value, output, replace_graph_outputs=True)
    output.name, value.name = value.name, None
    graph.remove(old, safe=True)
