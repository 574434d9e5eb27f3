"""Normalizations over parts of a tensor.

1. GroupNormalization: the mean of a group is that of the means of its channels, which all have
   as many elements. Only these means are split into groups, never x: its channels stay one axis,
   in whatever layout, and (x - mean) * (scale / deviation) + bias has one operand per channel.
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
    x, channels = e.input(0), e.size(1)
    if e.shape(1) != (channels,):
        raise CannotExpand("its scale is not per channel", "Export with opset 21 or later.")
    per_channel = [channels, *(1,) * (e.rank() - 2)]
    centred = e.op("Sub", x, _mean_of_groups(e, x))
    variance = _mean_of_groups(e, e.op("Mul", centred, centred))
    deviation = e.op("Sqrt", e.op("Add", variance, e.number(float(e.attribute("epsilon", 1e-5)))))
    factor = e.op("Div", e.reshape(e.input(1), per_channel), deviation)
    scaled = e.op("Mul", centred, factor)
    return [e.op("Add", scaled, e.reshape(e.input(2), per_channel))]


def _mean_of_groups(e: Expansion, value: ir.Value) -> ir.Value:
    """(batch, C, 1, ...): for each channel, the mean over its group and all places."""
    batch, channels, *places = e.shape()
    groups = int(e.attribute("num_groups"))
    grouped = [batch, groups, channels // groups]
    if places:
        value = e.reduce("ReduceMean", value, range(2, e.rank()))
    mean = e.reduce("ReduceMean", e.reshape(value, grouped), [2])
    spread = e.op("Expand", mean, e.ints(grouped))
    return e.reshape(spread, [batch, channels, *(1,) * len(places)])


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
