"""Normalizations over parts of a tensor.

1. GroupNormalization: channels are split into G groups; (batch, C, ...) read as
   (batch, G, C / G, ...) is an InstanceNormalization, followed by the scale and bias per channel.
2. LpNormalization: x / (sum |x|^p)^(1/p), and 0 where that norm is 0.
3. MeanVarianceNormalization: (x - mean) / (sqrt(variance) + 1e-9).
4. LRN: x * (bias + alpha / size * (sum of squares of `size` channels around))^-beta. The sum is a
   1x1 convolution of x^2 with a band of ones, so that the window may be even.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import CannotExpand, Expansion


def expand_group_normalization(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 1."""
    x, groups, channels = e.input(0), int(e.attribute("num_groups")), e.size(1)
    if e.shape(1) != (channels,):
        raise CannotExpand("its scale is not per channel", "Export with opset 21 or later.")
    normal = e.op(
        "InstanceNormalization",
        e.reshape(x, [0, groups, channels // groups, -1]),
        e.array(np.ones(groups), e.dtype()),
        e.array(np.zeros(groups), e.dtype()),
        epsilon=float(e.attribute("epsilon", 1e-5)),
    )
    for index, op_type in ((1, "Mul"), (2, "Add")):
        per_channel = e.reshape(e.input(index), [groups, channels // groups, 1])
        normal = e.op(op_type, normal, per_channel)
    return [e.reshape(normal, e.shape())]


def expand_lp_normalization(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 2. Where the norm is 0, so is x, and any other divisor gives 0."""
    x, axis, power = e.input(0), int(e.attribute("axis", -1)), int(e.attribute("p", 2))
    norm = e.reduce("ReduceL1" if power == 1 else "ReduceL2", x, [axis])
    least = e.array(np.finfo(e.dtype()).smallest_normal, e.dtype())
    return [e.op("Div", x, e.op("Max", norm, least))]


def expand_mean_variance_normalization(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 3."""
    x, axes = e.input(0), [int(axis) for axis in e.attribute("axes", (0, 2, 3))]
    centred = e.op("Sub", x, e.reduce("ReduceMean", x, axes))
    variance = e.reduce("ReduceMean", e.op("Mul", centred, centred), axes)
    return [e.op("Div", centred, e.op("Add", e.op("Sqrt", variance), e.number(1e-9)))]


def expand_lrn(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 4. The window begins `(size - 1) // 2` channels before."""
    x, channels, size = e.input(0), e.size(1), int(e.attribute("size"))
    ahead = np.arange(channels) - np.arange(channels)[:, None] + (size - 1) // 2
    band = np.where((ahead >= 0) & (ahead < size), float(e.attribute("alpha", 1e-4)) / size, 0.0)
    base = e.op(
        "Conv",
        e.op("Mul", x, x),
        e.array(band.reshape(channels, channels, *(1,) * (e.rank() - 2)), e.dtype()),
        e.array(np.full(channels, float(e.attribute("bias", 1.0))), e.dtype()),
    )
    return [e.op("Div", x, _power(e, base, float(e.attribute("beta", 0.75))))]


def _power(e: Expansion, base: ir.Value, exponent: float) -> ir.Value:
    """By square roots where they will do, which are faster everywhere."""
    powered: ir.Value
    if exponent in (0.5, 0.75):
        root = e.op("Sqrt", base)
        powered = root if exponent == 0.5 else e.op("Mul", root, e.op("Sqrt", root))
    else:
        powered = e.op("Pow", base, e.number(exponent))
    return powered
