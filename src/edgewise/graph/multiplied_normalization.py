"""LayerNormalization with its products multiplied out, as Keras computes it:

    y = x g + (bias - mean(x) g)    with g = scale / sqrt(mean((x - mean(x))^2) + epsilon)

The match starts at the inverse of the root. Scale and bias may be left out, the mean may be negated
before its product or after it, and operands of sums and products may be swapped. Nothing else may
read g, nor the bracket.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from edgewise.graph.read import constant

_STANDARD = ("", "ai.onnx")


@dataclass(frozen=True, slots=True)
class MultipliedMatch:
    """The nodes from behind the root on, and the constants in them."""

    nodes: list[ir.Node]
    scale: npt.NDArray[Any] | None
    bias: npt.NDArray[Any] | None


def match_multiplied(root: ir.Node, x: ir.Value, mean: ir.Value) -> MultipliedMatch | None:
    """What follows a root of the variance of `x` around `mean`."""
    inverse = _reader(root.outputs[0], "Reciprocal") or _inverse_by_division(root)
    if inverse is None:
        return None
    nodes, factor, scale = [inverse], inverse.outputs[0], None
    product = _sole_reader(factor)
    if product is not None and product.op_type == "Mul":
        scale = constant(_other(product, factor))
        if scale is None:
            return None
        nodes, factor = [*nodes, product], product.outputs[0]
    readers = {use.node for use in factor.uses() if use.node.op_type == "Mul"}
    if len(readers) != 2 or len(factor.uses()) != 2 or factor.is_graph_output():
        return None
    first = next((node for node in readers if _other(node, factor) is x), None)
    second = next((node for node in readers if node is not first), None)
    if first is None or second is None:
        return None
    sign, negation = _sign(_other(second, factor), mean)
    bracket = None if sign is None else _bracket(second, sign)
    last = None if bracket is None else _sole_reader(bracket.value)
    if bracket is None or last is None or last is not _sole_reader(first.outputs[0]):
        return None
    wanted = "Add" if bracket.sign < 0 else "Sub"
    if last.op_type != wanted or (wanted == "Sub" and last.inputs[0] is not first.outputs[0]):
        return None
    middle = [negation] if negation is not None else []
    nodes = [*nodes, *middle, second, *bracket.nodes, first, last]
    return MultipliedMatch(nodes, scale, bracket.bias)


@dataclass(frozen=True, slots=True)
class _Bracket:
    """`sign * (mean g) + bias`; without a bias the sign may be left to what reads it."""

    value: ir.Value
    sign: int
    nodes: list[ir.Node]
    bias: npt.NDArray[Any] | None


def _bracket(product: ir.Node, sign: int) -> _Bracket | None:
    value = product.outputs[0]
    reader = _sole_reader(value)
    if reader is None:
        return None
    if reader.op_type == "Neg":
        return _Bracket(reader.outputs[0], -sign, [reader], None)
    bias = constant(_other(reader, value)) if reader.op_type in ("Add", "Sub") else None
    if bias is None:
        return _Bracket(value, sign, [], None)
    if reader.op_type == "Sub":
        if reader.inputs[1] is not value:
            return None
        sign = -sign
    return _Bracket(reader.outputs[0], sign, [reader], bias) if sign < 0 else None


def _sign(value: ir.Value | None, mean: ir.Value) -> tuple[int | None, ir.Node | None]:
    if value is mean:
        return 1, None
    node = None if value is None else value.producer()
    if node is not None and node.op_type == "Neg" and node.inputs[0] is mean:
        return -1, node
    return None, None


def _inverse_by_division(root: ir.Node) -> ir.Node | None:
    node = _reader(root.outputs[0], "Div")
    one = None if node is None else constant(node.inputs[0])
    return node if one is not None and one.size == 1 and float(one.reshape(())) == 1.0 else None


def _reader(value: ir.Value, op_type: str) -> ir.Node | None:
    node = _sole_reader(value)
    return node if node is not None and node.op_type == op_type else None


def _sole_reader(value: ir.Value) -> ir.Node | None:
    uses = tuple(value.uses())
    if len(uses) != 1 or value.is_graph_output() or uses[0].node.domain not in _STANDARD:
        return None
    return uses[0].node


def _other(node: ir.Node, value: ir.Value) -> ir.Value | None:
    return node.inputs[1] if node.inputs[0] is value else node.inputs[0]
