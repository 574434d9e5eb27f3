"""GELU (Hendrycks and Gimpel 2016, arXiv:1606.08415), as exporters spell it out.

    Gelu(x)         = x / 2 (1 + erf(x / sqrt(2)))
    Gelu(x), "tanh" = x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))

The match starts at Erf or Tanh:
  1. its argument is a polynomial in some x with the coefficients of the formula, however sums,
     products, quotients and powers spell it out;
  2. its only reader adds 1;
  3. the product above that, of Mul nodes with one reader each, has exactly the factors
     {x, 1/2, 1 + erf} in any order and grouping, where 1/2 may also be a division by 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.graph.read import constant

_TOLERANCE = 1e-4
_ARITHMETIC = ("Add", "Div", "Mul", "Neg", "Pow", "Sub")
#: how far an argument is followed backwards
_DEPTH = 5
#: coefficients of a polynomial, from that of x^0 on
Polynomial = npt.NDArray[np.float64]
_COUNT = 4
_ERF = np.array([0.0, math.sqrt(0.5), 0.0, 0.0])
_TANH = math.sqrt(2 / math.pi) * np.array([0.0, 1.0, 0.0, 0.044715])


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
    x = _argument(node.inputs[0], _ERF if is_erf else _TANH)
    add = _only_reader(node.outputs[0])
    if x is None or add is None or add.op_type != "Add":
        return None
    if not any(_is_number(value, 1.0) for value in add.inputs):
        return None
    product = _product(add.outputs[0], x)
    return None if product is None else GeluMatch(x, product, "none" if is_erf else "tanh")


def _argument(value: ir.Value | None, wanted: Polynomial) -> ir.Value | None:
    """Case 1: the x that the value is this polynomial of, looked for from the value backwards."""
    if value is None:
        return None
    for candidate in _backwards(value):
        found = _polynomial(value, candidate, _DEPTH)
        if found is not None and np.allclose(found, wanted, rtol=_TOLERANCE, atol=1e-9):
            return candidate
    return None


def _backwards(value: ir.Value) -> Iterator[ir.Value]:
    """The value, and computed ones that it depends on by arithmetic, nearest first."""
    found = {value: None}
    for _ in range(_DEPTH):
        for known in list(found):
            node = known.producer()
            if node is None or node.op_type not in _ARITHMETIC:
                continue
            operands = [v for v in node.inputs if v is not None and constant(v) is None]
            found.update(dict.fromkeys(operands))
    yield from found


def _polynomial(value: ir.Value, x: ir.Value, depth: int) -> Polynomial | None:
    """Coefficients of x^0 to x^3; None where the value is no such polynomial."""
    if value is x:
        return np.array([0.0, 1.0, 0.0, 0.0])
    array = constant(value)
    if array is not None:
        return None if array.size != 1 else np.array([float(array.reshape(())), 0.0, 0.0, 0.0])
    node = value.producer()
    if node is None or node.op_type not in _ARITHMETIC or not depth:
        return None
    parts = [None if v is None else _polynomial(v, x, depth - 1) for v in node.inputs]
    first, second = parts if len(parts) == 2 else (parts[0], np.zeros(_COUNT))
    return None if first is None or second is None else _computed(node.op_type, first, second)


def _computed(op_type: str, first: Polynomial, second: Polynomial) -> Polynomial | None:
    if op_type in ("Add", "Sub", "Neg"):
        return {"Add": first + second, "Sub": first - second, "Neg": -first}[op_type]
    if op_type == "Mul":
        product = np.convolve(first, second)
        return None if product[_COUNT:].any() else product[:_COUNT]
    number = float(second[0])
    if second[1:].any():
        return None
    if op_type == "Div":
        return first / number if number else None
    if number not in (2.0, 3.0):
        return None
    square = _computed("Mul", first, first)
    return square if square is None or number == 2.0 else _computed("Mul", square, first)


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
