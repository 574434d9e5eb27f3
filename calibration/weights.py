"""Weight ranges that differ from the plain maximum of each channel.

A symmetric weight scale is max|w| / qmax, and the int32 bias is stored with s_in * s_w. Two kinds
of channel need a larger scale than their own weights ask for:
1. all weights zero (a dead channel): any scale is right for the weights, but it also sets the step
   of the bias, so it takes the largest scale of the other channels;
2. weights so small that the bias would exceed 2**30, which leaves the accumulator of a kernel half
   of int32:  max|w| >= qmax * |b| / (2**30 * s_in).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.operands import BIASED_OPS, channel_axis, inputs_of_role
from edgewise.calibration.parameters import storable_scale
from edgewise.calibration.placement import Placement
from edgewise.calibration.scheme import QMAX, NumberFormat, QuantParams
from edgewise.graph import constant

_LARGEST_BIAS = 2.0**30


@dataclass(frozen=True, slots=True)
class WeightRange:
    """Channel axis (None: one range for all) and the magnitude to represent, one per channel."""

    axis: int | None
    magnitudes: tuple[float, ...]


def weight_ranges(
    model: ir.Model,
    placement: Placement,
    parameters: Mapping[str, QuantParams],
    number: NumberFormat,
) -> dict[str, WeightRange]:
    """The range of every weight initializer of the placed nodes, by name."""
    users: dict[str, list[tuple[ir.Node, ir.Value]]] = defaultdict(list)
    for node in model.graph:
        if node in placement:
            for weight in inputs_of_role(node, "weight"):
                users[weight.name or ""].append((node, weight))
    return {name: _range(uses, parameters, number) for name, uses in users.items()}


def _range(
    uses: list[tuple[ir.Node, ir.Value]],
    parameters: Mapping[str, QuantParams],
    number: NumberFormat,
) -> WeightRange:
    first, weight = uses[0]
    array = constant(weight)
    if array is None:
        raise ValueError(f"weight '{weight.name}' is not constant")
    axis = channel_axis(first, weight, number)
    others = tuple(index for index in range(array.ndim) if index != axis)
    magnitudes = np.abs(array).max(axis=None if axis is None else others, initial=0.0)
    magnitudes = np.atleast_1d(magnitudes).astype(np.float64)
    magnitudes[magnitudes == 0.0] = magnitudes.max() or 1.0
    for node, _ in uses:
        floor = _bias_floor(node, parameters, number, per_channel=axis is not None)
        magnitudes = np.maximum(magnitudes, floor)
    qmax = QMAX[number.dtype]  # times a scale of few significant bits, exact in float32
    if number.scale_dtype != "float32":
        magnitudes = np.array([qmax * storable_scale(m / qmax, number) for m in magnitudes])
    return WeightRange(axis, tuple(float(value) for value in magnitudes))


def _bias_floor(
    node: ir.Node,
    parameters: Mapping[str, QuantParams],
    number: NumberFormat,
    *,
    per_channel: bool,
) -> npt.NDArray[Any]:
    bias = constant(node.inputs[2]) if node.op_type in BIASED_OPS and len(node.inputs) > 2 else None
    source = node.inputs[0]
    if bias is None or source is None:
        return np.zeros(1)
    step = _LARGEST_BIAS * parameters[source.name or ""].scale
    floor = QMAX[number.dtype] * np.abs(bias.astype(np.float64)) / step
    return floor if per_channel else np.atleast_1d(floor.max(initial=0.0))
