"""Scales of weights, one per channel or one per tensor.

A symmetric weight scale is m / qmax, where m is max|w| or a lower magnitude of less error (see
`weight_search`), and the int32 bias is stored with s_in * s_w. Two kinds of channel need a larger
scale than their own weights ask for:
1. all weights zero (a dead channel): any scale is right for the weights, but it also sets the step
   of the bias, so it takes the largest scale of the other channels;
2. weights so small that the bias would exceed 2**30, which leaves the accumulator of a kernel half
   of int32:  m >= qmax * |b| / (2**30 * s_in).

A weight of a source that was quantized keeps the scales that it had (see `known`), but for case 2.
What is beyond the integers of a narrow format goes to the last one (`saturate_weights`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.known import Known, known_scales
from edgewise.calibration.operands import BIASED_OPS, channel_axis, inputs_of_role
from edgewise.calibration.parameters import (
    affine_parameters,
    limits,
    storable_scales,
    symmetric_scales,
)
from edgewise.calibration.placement import Placement
from edgewise.calibration.ranges import Range
from edgewise.calibration.recipe import WeightMethod
from edgewise.calibration.scheme import QMAX, QMIN, NumberFormat, QuantParams
from edgewise.calibration.weight_search import largest_magnitudes, least_error_magnitudes
from edgewise.graph import TensorQuantization, constant

_LARGEST_BIAS = 2.0**30
#: below this, float32 arithmetic on the scales would underflow
_DEAD = 1e-30
#: more than a float32 is off
_ROUNDED = 1e-6


@dataclass(frozen=True, slots=True)
class WeightParameters:
    """Parameters of one weight: one entry per channel of `axis`, or a single one without axis."""

    axis: int | None
    channels: tuple[QuantParams, ...]


def weight_parameters(
    model: ir.Model,
    placement: Placement,
    activations: Mapping[str, QuantParams],
    number: NumberFormat,
    known: Known = MappingProxyType({}),
    method: WeightMethod = "minmax",
) -> dict[str, WeightParameters]:
    """The parameters of every weight initializer of the placed nodes, by name.

    Args:
        model: float model in the form that `to_float_form` gives.
        placement: the nodes to quantize.
        activations: parameters of the activations, by name.
        number: format of the weights.
        known: what the model's source stored its weights with, by name.
        method: `minmax` has every weight in range, `mse` takes the scale of the least squared
            error (see `weight_search`).
    """
    users: dict[str, list[tuple[ir.Node, ir.Value]]] = defaultdict(list)
    for node in model.graph:
        if node in placement:
            for weight in inputs_of_role(node, "weight"):
                users[weight.name or ""].append((node, weight))
    return {
        name: _parameters(uses, activations, number, known.get(name), method)
        for name, uses in users.items()
    }


def saturate_weights(
    model: ir.Model, weights: Mapping[str, WeightParameters], number: NumberFormat
) -> None:
    """Leave no weight, in place, that rounding would take below the least integer of the format:
    onnxruntime.quantization knows the type's own limits only."""
    if not number.narrow_range or QMIN[number.dtype] >= 0:
        return
    for name, given in weights.items():
        value = model.graph.initializers[name]
        array = constant(value)
        if array is None:
            continue
        shape = [1] * array.ndim
        if given.axis is not None:
            shape[given.axis] = -1
        scales = np.array([channel.scale for channel in given.channels], np.float32)
        lowest = limits(number)[0] * scales.reshape(shape if given.axis is not None else ())
        if (array < lowest).any():
            value.const_value = ir.tensor(np.maximum(array, lowest).astype(np.float32), name=name)


def _parameters(
    uses: list[tuple[ir.Node, ir.Value]],
    activations: Mapping[str, QuantParams],
    number: NumberFormat,
    known: TensorQuantization | None,
    method: WeightMethod,
) -> WeightParameters:
    first, weight = uses[0]
    array = constant(weight)
    if array is None:
        raise ValueError(f"weight '{weight.name}' is not constant")
    axis = channel_axis(first, weight, number)
    if method == "mse":
        magnitudes = least_error_magnitudes(array, axis, limits(number)[1])
    else:
        magnitudes = largest_magnitudes(array, axis)
    largest = magnitudes.max(initial=0.0)
    magnitudes[magnitudes < _DEAD] = largest if largest >= _DEAD else 1.0
    floors = np.zeros(1)
    for node, _ in uses:
        floor = _bias_floor(node, activations, number, per_channel=axis is not None)
        floors = np.maximum(floors, floor)
    magnitudes = np.maximum(magnitudes, floors)
    channels = _channel_parameters(magnitudes, number)
    kept = known_scales(array, known, axis)
    if kept is None or QMAX[number.dtype] - QMIN[number.dtype] != QMAX["int8"] - QMIN["int8"]:
        return WeightParameters(axis, channels)
    holds = kept * QMAX["int8"] >= floors * (1.0 - _ROUNDED)
    stored = storable_scales(kept.astype(np.float64), number)
    return WeightParameters(
        axis,
        tuple(
            QuantParams(float(scale), channel.zero_point) if held else channel
            for scale, held, channel in zip(stored, holds, channels, strict=True)
        ),
    )


def _channel_parameters(
    magnitudes: npt.NDArray[np.float64], number: NumberFormat
) -> tuple[QuantParams, ...]:
    """The parameters of the ranges [-m, m]; a network has tens of thousands."""
    if number.symmetric and QMIN[number.dtype] < 0:
        return tuple(QuantParams(float(scale), 0) for scale in symmetric_scales(magnitudes, number))
    return tuple(affine_parameters(Range(-float(m), float(m)), number) for m in magnitudes)


def _bias_floor(
    node: ir.Node,
    activations: Mapping[str, QuantParams],
    number: NumberFormat,
    *,
    per_channel: bool,
) -> npt.NDArray[Any]:
    """The magnitude that each channel must represent for the bias to fit, see case 2."""
    bias = constant(node.inputs[2]) if node.op_type in BIASED_OPS and len(node.inputs) > 2 else None
    source = node.inputs[0]
    if bias is None or source is None:
        return np.zeros(1)
    step = _LARGEST_BIAS * activations[source.name or ""].scale
    floor = QMAX[number.dtype] * np.abs(bias.astype(np.float64)) / step
    return floor if per_channel else np.atleast_1d(floor.max(initial=0.0))
