"""Functions of one element."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import Expansion


def expand_swish(e: Expansion) -> Sequence[ir.Value]:
    """`x * sigmoid(alpha * x)` (ONNX operator Swish, opset 24)."""
    x, alpha = e.input(0), float(e.attribute("alpha", 1.0))
    inner = x if alpha == 1 else e.op("Mul", x, e.array(alpha, np.float32))
    return [e.op("Mul", x, e.op("Sigmoid", inner))]


def expand_shrink(e: Expansion) -> Sequence[ir.Value]:
    """`x + bias` below -lambd, `x - bias` above lambd, 0 between; `x - clip(x)` where both numbers
    are one."""
    x = e.input(0)
    limit, bias = float(e.attribute("lambd", 0.5)), float(e.attribute("bias", 0.0))
    low, high = e.number(-limit), e.number(limit)
    if limit == bias and limit >= 0:
        return [e.op("Sub", x, e.op("Clip", x, low, high))]
    above = e.op("Where", e.op("Greater", x, high), e.op("Sub", x, e.number(bias)), e.number(0))
    return [e.op("Where", e.op("Less", x, low), e.op("Add", x, e.number(bias)), above)]


def expand_is_nan(e: Expansion) -> Sequence[ir.Value]:
    """Only NaN differs from itself."""
    x = e.input(0)
    return [e.op("Not", e.op("Equal", x, x))]


def expand_is_inf(e: Expansion) -> Sequence[ir.Value]:
    x = e.input(0)
    negative, positive = e.attribute("detect_negative", 1), e.attribute("detect_positive", 1)
    if negative and positive:
        return [e.op("Equal", e.op("Abs", x), e.number(np.inf))]
    if not negative and not positive:
        return [e.array(np.zeros(e.shape(), np.bool_))]
    return [e.op("Equal", x, e.number(np.inf if positive else -np.inf))]
