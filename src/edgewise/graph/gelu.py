"""GELU (Hendrycks and Gimpel 2016, arXiv:1606.08415), as exporters spell it out.

    Gelu(x)         = x / 2 (1 + erf(x / sqrt(2)))
    Gelu(x), "tanh" = x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))

The match starts at Erf or Tanh:
  1. its argument is that of the formula: `x / sqrt(2)` or `x * (1 / sqrt(2))`; x^3 may be a Pow or
     two products, and operands of sums and products may be swapped;
  2. its only reader adds 1;
  3. the product above that, of Mul nodes with one reader each, has exactly the factors
     {x, 1/2, 1 + erf} in any order and grouping, where 1/2 may also be a division by 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgewise.graph.read import constant

_TOLERANCE = 1e-4
_CUBIC = 0.044715


@dataclass(frozen=True, slots=True)
class GeluMatch:
    """`product` is the value that equals Gelu(`x`)."""

    x: ir.Value
    product: ir.Value
    approximate: str


def match_gelu(node: ir.Node) -> GeluMatch | None:
    """The GELU around an Erf or Tanh node, if there is one."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in ("Erf", "Tanh"):
        return None
    is_erf = node.op_type == "Erf"
    x = _halved_root(node.inputs[0]) if is_erf else _cubic_argument(node.inputs[0])
    add = _only_reader(node.outputs[0])
    if x is None or add is None or add.op_type != "Add":
        return None
    if not any(_is_number(value, 1.0) for value in add.inputs):
        return None
    product = _product(add.outputs[0], x)
    return None if product is None else GeluMatch(x, product, "none" if is_erf else "tanh")


def _halved_root(value: ir.Value | None) -> ir.Value | None:
    """Case 1, Erf: the x of x / sqrt(2)."""
    node = None if value is None else value.producer()
    if node is None or node.op_type not in ("Div", "Mul"):
        return None
    if node.op_type == "Div":
        return node.inputs[0] if _is_number(node.inputs[1], math.sqrt(2)) else None
    return _other_factor(node, math.sqrt(0.5))


def _cubic_argument(value: ir.Value | None) -> ir.Value | None:
    """Case 1, Tanh: the x of sqrt(2 / pi) (x + 0.044715 x^3)."""
    scaled = _producer(value, "Mul")
    total = None if scaled is None else _other_factor(scaled, math.sqrt(2 / math.pi))
    add = _producer(total, "Add")
    if add is None:
        return None
    for x, cubic in (add.inputs, add.inputs[::-1]):
        term = _producer(cubic, "Mul")
        cube = None if term is None else _other_factor(term, _CUBIC)
        if x is not None and cube is not None and _is_cube_of(cube, x):
            return x
    return None


def _is_cube_of(value: ir.Value, x: ir.Value) -> bool:
    power = _producer(value, "Pow")
    if power is not None:
        return power.inputs[0] is x and _is_number(power.inputs[1], 3.0)
    node = _producer(value, "Mul")
    if node is None:
        return False
    for one, other in (node.inputs, node.inputs[::-1]):
        square = _producer(other, "Mul")
        if one is x and square is not None and all(factor is x for factor in square.inputs):
            return True
        squared = _producer(other, "Pow")
        if one is x and squared is not None and squared.inputs[0] is x:
            return _is_number(squared.inputs[1], 2.0)
    return False


def _product(value: ir.Value, x: ir.Value) -> ir.Value | None:
    """Case 3: walks up until x and one half have both been multiplied in."""
    seen_x = seen_half = False
    while not (seen_x and seen_half):
        node = _only_reader(value)
        if node is None or node.op_type not in ("Mul", "Div"):
            return None
        other = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
        if node.op_type == "Div":
            if node.inputs[0] is not value or not _is_number(other, 2.0) or seen_half:
                return None
            seen_half = True
        elif _is_number(other, 0.5) and not seen_half:
            seen_half = True
        elif other is x and not seen_x:
            seen_x = True
        elif _is_half_of(other, x) and not (seen_x or seen_half):
            seen_x = seen_half = True
        else:
            return None
        value = node.outputs[0]
    return value


def _is_half_of(value: ir.Value | None, x: ir.Value) -> bool:
    node = None if value is None else value.producer()
    if node is None or node.op_type not in ("Mul", "Div") or len(node.inputs) != 2:
        return False
    if node.op_type == "Div":
        return node.inputs[0] is x and _is_number(node.inputs[1], 2.0)
    return _other_factor(node, 0.5) is x


def _other_factor(product: ir.Node, number: float) -> ir.Value | None:
    """What a Mul multiplies with that constant."""
    for factor, other in (product.inputs, product.inputs[::-1]):
        if _is_number(factor, number):
            return other
    return None


def _producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type else None


def _only_reader(value: ir.Value) -> ir.Node | None:
    uses = tuple(value.uses())
    return None if value.is_graph_output() or len(uses) != 1 else uses[0].node


def _is_number(value: ir.Value | None, number: float) -> bool:
    array = constant(value)
    return (
        array is not None
        and array.size == 1
        and bool(np.isclose(float(array.reshape(())), number, rtol=_TOLERANCE, atol=0))
    )
