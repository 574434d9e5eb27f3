"""Tangent, and hyperbolic functions and their inverses, accurate at both ends of their range.

With `m = exp(-|x|) - 1`, which Elu gives without cancellation, and `h = exp(|x| / 2)`:
  1. tan x    = sin x / cos x
  2. sinh |x| = (1 / e - e) / 2 with e = m + 1, that is -m (m + 2) / 2 * h * h
  3. cosh x   = (h / 2) * h + (1 / h) * (1 / h) / 2
Halving the argument of exp lets both reach the largest float32 before they overflow. The inverses
are logarithms, whose relative error grows near log 1; there a quotient of polynomials in z = x^2
takes over, which was fitted by reweighted least squares of the relative error:
  4. atanh x   = x P(z) / Q(z) below 1/2 (error 6e-9), log((1 + |x|) / (1 - |x|)) / 2 above
  5. asinh x   = x P(z) / Q(z) below 1 (error 2e-7), log((|x| + sqrt(z + 1)) / 4) + log 4 above,
     where the root is |x| from 2^13 on, before z overflows
  6. acosh x   = 2 asinh(sqrt((x - 1) / 2))
Odd functions take |x| and give back the sign.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from edgewise.graph.expand.expansion import Expansion

_LARGE = 2.0**13
#: numerator and denominator, coefficients from the constant up
_ATANH = (
    (1.0, -0.8237455487251282, 0.08079469949007034),
    (1.0, -1.15707790851593, 0.2664598524570465),
)
_ASINH = (
    (0.9999997615814209, 0.6684905290603638, 0.047919005155563354),
    (1.0, 0.8351411819458008, 0.11228372901678085),
)


def expand_tan(e: Expansion) -> Sequence[ir.Value]:
    """Case 1."""
    x = e.input(0)
    return [e.op("Div", e.op("Sin", x), e.op("Cos", x))]


def expand_sinh(e: Expansion) -> Sequence[ir.Value]:
    """Case 2."""
    x = e.input(0)
    size = e.op("Abs", x)
    m = e.op("Elu", e.op("Neg", size))
    root = _half_power(e, size)
    bent = e.op("Mul", m, e.op("Add", m, e.number(2.0)))
    grown = e.op("Mul", e.op("Mul", e.op("Mul", bent, e.number(-0.5)), root), root)
    return [e.op("Mul", grown, e.op("Sign", x))]


def expand_cosh(e: Expansion) -> Sequence[ir.Value]:
    """Case 3."""
    root = _half_power(e, e.op("Abs", e.input(0)))
    inverse = e.op("Reciprocal", root)
    rising = e.op("Mul", e.op("Mul", root, e.number(0.5)), root)
    falling = e.op("Mul", e.op("Mul", inverse, e.number(0.5)), inverse)
    return [e.op("Add", rising, falling)]


def expand_atanh(e: Expansion) -> Sequence[ir.Value]:
    """Case 4."""
    x = e.input(0)
    size = e.op("Abs", x)
    one = e.number(1.0)
    ratio = e.op("Div", e.op("Add", size, one), e.op("Sub", one, size))
    far = e.op("Mul", e.op("Mul", e.op("Log", ratio), e.number(0.5)), e.op("Sign", x))
    near = _quotient(e, x, e.op("Mul", x, x), _ATANH)
    return [e.op("Where", e.op("Less", size, e.number(0.5)), near, far)]


def expand_asinh(e: Expansion) -> Sequence[ir.Value]:
    return [_asinh(e, e.input(0))]


def expand_acosh(e: Expansion) -> Sequence[ir.Value]:
    """Case 6."""
    half = e.op("Mul", e.op("Sub", e.input(0), e.number(1.0)), e.number(0.5))
    return [e.op("Mul", _asinh(e, e.op("Sqrt", half)), e.number(2.0))]


def _asinh(e: Expansion, x: ir.Value) -> ir.Value:
    """Case 5."""
    size, z = e.op("Abs", x), e.op("Mul", x, x)
    root = e.op("Sqrt", e.op("Add", z, e.number(1.0)))
    root = e.op("Where", e.op("Less", size, e.number(_LARGE)), root, size)
    quarter = e.number(0.25)
    part = e.op("Add", e.op("Mul", size, quarter), e.op("Mul", root, quarter))
    far = e.op("Add", e.op("Log", part), e.number(math.log(4.0)))
    signed = e.op("Mul", far, e.op("Sign", x))
    near = _quotient(e, x, z, _ASINH)
    chosen: ir.Value = e.op("Where", e.op("Less", size, e.number(1.0)), near, signed)
    return chosen


def _half_power(e: Expansion, size: ir.Value) -> ir.Value:
    """exp(size / 2)"""
    power: ir.Value = e.op("Exp", e.op("Mul", size, e.number(0.5)))
    return power


def _quotient(
    e: Expansion, x: ir.Value, z: ir.Value, coefficients: tuple[Sequence[float], Sequence[float]]
) -> ir.Value:
    """x P(z) / Q(z)"""
    upper, lower = (_polynomial(e, z, numbers) for numbers in coefficients)
    quotient: ir.Value = e.op("Div", e.op("Mul", upper, x), lower)
    return quotient


def _polynomial(e: Expansion, z: ir.Value, coefficients: Sequence[float]) -> ir.Value:
    """Horner's scheme; coefficients from the constant up."""
    total = e.op("Mul", z, e.number(coefficients[-1]))
    for coefficient in reversed(coefficients[1:-1]):
        total = e.op("Mul", e.op("Add", total, e.number(coefficient)), z)
    whole: ir.Value = e.op("Add", total, e.number(coefficients[0]))
    return whole
