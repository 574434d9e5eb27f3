"""Tangent, and hyperbolic functions and their inverses, accurate at both ends of their range.

With `m = exp(-|x|) - 1`, which Elu gives without cancellation, and `h = exp(|x| / 2)`:
  1. tan x    = sin x / cos x
  2. sinh |x| = (1 / e - e) / 2 with e = m + 1, that is -m (m + 2) / 2 * h * h
  3. cosh x   = (h / 2) * h + (1 / h) * (1 / h) / 2
Halving the argument of exp lets both reach the largest float32 before they overflow.
With `log1p(u) = u * log(w) / (w - 1)` where w = 1 + u, and u itself where w = 1 (Kahan): the error
of w cancels in the quotient:
  4. atanh |x| = log1p(2 |x| / (1 - |x|)) / 2 below 1/2, and log((1 + |x|) / (1 - |x|)) / 2 above
  5. asinh |x| = log1p(|x| + x^2 / (1 + sqrt(x^2 + 1)))
  6. acosh x   = log1p(t + sqrt(t) sqrt(t + 2)) with t = x - 1
  7. both of them are log x + log 2 from 2^13 on, where squares start to lose digits and then
     overflow
Odd functions take |x| and give back the sign.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from edgewise.graph.expand.expansion import Expansion

_LARGE = 2.0**13


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
    below = e.op("Sub", e.number(1.0), size)
    near = _log1p(e, e.op("Div", e.op("Add", size, size), below))
    far = e.op("Log", e.op("Div", e.op("Add", size, e.number(1.0)), below))
    both = e.op("Where", e.op("Less", size, e.number(0.5)), near, far)
    return [e.op("Mul", e.op("Mul", both, e.number(0.5)), e.op("Sign", x))]


def expand_asinh(e: Expansion) -> Sequence[ir.Value]:
    """Cases 5 and 7."""
    x = e.input(0)
    size = e.op("Abs", x)
    square = e.op("Mul", size, size)
    root = e.op("Sqrt", e.op("Add", square, e.number(1.0)))
    bend = e.op("Div", square, e.op("Add", root, e.number(1.0)))
    near = _log1p(e, e.op("Add", size, bend))
    return [e.op("Mul", _far_logarithm(e, size, near), e.op("Sign", x))]


def expand_acosh(e: Expansion) -> Sequence[ir.Value]:
    """Cases 6 and 7."""
    x = e.input(0)
    t = e.op("Sub", x, e.number(1.0))
    root = e.op("Mul", e.op("Sqrt", t), e.op("Sqrt", e.op("Add", t, e.number(2.0))))
    return [_far_logarithm(e, x, _log1p(e, e.op("Add", t, root)))]


def _half_power(e: Expansion, size: ir.Value) -> ir.Value:
    """exp(size / 2)"""
    power: ir.Value = e.op("Exp", e.op("Mul", size, e.number(0.5)))
    return power


def _log1p(e: Expansion, u: ir.Value) -> ir.Value:
    """log(1 + u); 0 / 0 where 1 + u rounds to 1 is not chosen."""
    w = e.op("Add", u, e.number(1.0))
    rest = e.op("Sub", w, e.number(1.0))
    scaled = e.op("Mul", u, e.op("Div", e.op("Log", w), rest))
    chosen: ir.Value = e.op("Where", e.op("Equal", rest, e.number(0.0)), u, scaled)
    return chosen


def _far_logarithm(e: Expansion, x: ir.Value, near: ir.Value) -> ir.Value:
    """Case 7: log(2 x) for large x, `near` for others."""
    far = e.op("Add", e.op("Log", x), e.number(math.log(2.0)))
    chosen: ir.Value = e.op("Where", e.op("Less", x, e.number(_LARGE)), near, far)
    return chosen
