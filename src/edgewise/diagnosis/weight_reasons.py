"""Why the constants of a node lose more than they have to.

With the steps s of a weight, one per channel or one for all, and the steps max|w| / qmax that its
channels ask for:

1. tiny bias scale: a bias is stored in steps of s_in s, and must fit int32, so that channels of
   small weights with a large bias take larger steps (`calibration.weights`, case 2), or the bias
   saturates. It is a reason only where the weights can move the output by a step of 8 bits beside
   the bias: with inputs of 8 bits they hardly ever can, with 16 they do.
2. spread of channels: one step for all, where the operator has no more.
3. outlier: the mean square of the rounding error over the least one of ranges that saturate a few
   weights; or the squared largest weights of the channels over those that 97 % stay below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.float_side import float_constant
from edgewise.calibration.layers import constant_pairs
from edgewise.calibration.operands import BIASED_OPS
from edgewise.diagnosis.reasons import (
    SMALLEST_GAIN_DB,
    Reason,
    decibels,
    number_text,
)
from edgewise.graph import TensorQuantization, attribute, constant, quantization_of
from edgewise.graph.quantized import DEQUANTIZE

Array = npt.NDArray[Any]
_SMALLEST_CHANNEL_DB = 12.0
_SMALLEST_OUTLIER_DB = 12.0
_NEARLY_ALL = 0.97
#: the step that a bias asks for, over the one that the weights do
_STRETCHED = 1.4
#: half a step of 8 bits
_VISIBLE = 1.0 / 512.0
#: of the largest weight of a channel
_CLIPPED = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_LARGEST_BIAS = 2.0**31 - 1


@dataclass(frozen=True, slots=True)
class _Stored:
    """A quantized constant, and what it was in float."""

    integers: Array
    quantization: TensorQuantization
    real: npt.NDArray[np.float64]


def weight_reasons(node: ir.Node, hub: Mapping[str, ir.Node]) -> list[Reason]:
    """The reasons that hold for the constants of a QDQ model's node, the worst first."""
    stored: dict[int, _Stored] = {}
    for index, dequantize in constant_pairs(node):
        integers, quantization = constant(dequantize.inputs[0]), quantization_of(dequantize)
        if integers is None or quantization.block_size:
            continue
        real = float_constant(hub, node, index, integers, quantization)
        if real is not None:
            stored[index] = _Stored(integers, quantization, real.astype(np.float64))
    found: list[Reason] = []
    for index, weight in stored.items():
        if weight.real.ndim < 2:
            continue
        bias = stored.get(2) if node.op_type in BIASED_OPS and index == 1 else None
        found += [*_bias(node, weight, bias), *_spread(node, weight), *_outlier(weight)]
    return sorted(found, key=lambda reason: -(reason.gain_db or 0.0))


def _magnitudes(weight: _Stored, axis: int | None) -> npt.NDArray[np.float64]:
    """max|w| of each channel, or of all."""
    others = tuple(index for index in range(weight.real.ndim) if index != axis)
    return np.asarray(np.atleast_1d(np.abs(weight.real).max(axis=others)))


def _steps(weight: _Stored) -> int:
    """The integers on one side."""
    return int(np.iinfo(weight.quantization.zero_point.dtype).max) or 1


def _reach(node: ir.Node, weight: _Stored) -> npt.NDArray[np.float64]:
    """The most that each channel's weights can add to its bias; without a pair at the input, any
    amount."""
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    sums = np.abs(weight.real).sum(
        axis=tuple(i for i in range(weight.real.ndim) if i != weight.quantization.axis)
    )
    if source is None or source.op_type != DEQUANTIZE:
        return np.full(np.shape(np.atleast_1d(sums)), np.inf)
    read = quantization_of(source)
    largest = float(read.scale.max()) * (np.iinfo(read.zero_point.dtype).max + 1)
    return np.asarray(np.atleast_1d(sums) * largest)


def _bias(node: ir.Node, weight: _Stored, bias: _Stored | None) -> Iterator[Reason]:
    """Case 1."""
    if bias is None:
        return
    remedy = "Take the bias out of the layer, or scale the layer's channels."
    if (np.abs(bias.integers.astype(np.float64)) >= _LARGEST_BIAS).any():
        step = number_text(float(bias.quantization.scale.min()))
        yield Reason("bias-scale", f"its bias saturates int32 in steps of {step}", remedy)
        return
    asked = _magnitudes(weight, weight.quantization.axis) / _steps(weight)
    taken = weight.quantization.scale.astype(np.float64).reshape(-1)
    alive = asked > 0.0
    large = np.abs(bias.integers.astype(np.float64)) > _LARGEST_BIAS / 4
    if taken.size != asked.size:
        return
    stretched = alive & (large if taken.size == large.size else large.any())
    stretched &= taken > _STRETCHED * asked
    beside = np.abs(bias.real).reshape(-1)
    beside = beside if beside.size == taken.size else beside.max(keepdims=True)
    stretched &= _reach(node, weight) >= beside * _VISIBLE
    if stretched.any():
        gain = 2.0 * decibels(float(np.median(taken[stretched] / asked[stretched])), 1.0)
        yield Reason(
            "bias-scale",
            f"the bias of {int(stretched.sum())} of {taken.size} channels is too large for steps "
            "of s_in * s_w, so that their weights take larger ones",
            remedy,
            gain,
        )


def _spread(node: ir.Node, weight: _Stored) -> Iterator[Reason]:
    """Case 2."""
    if not weight.quantization.per_tensor:
        return
    magnitudes = _magnitudes(weight, _channel_axis(node, weight.real.ndim))
    largest = float(magnitudes.max(initial=0.0))
    if magnitudes.size < 2 or largest <= 0.0:
        return
    middle = float(np.median(magnitudes[magnitudes > 0.0]))
    gain = 2.0 * decibels(largest, middle)
    if gain >= _SMALLEST_CHANNEL_DB:
        yield Reason(
            "weight-channels",
            f"one step for all: channel {int(magnitudes.argmax())} has weights up to "
            f"{number_text(largest)}, half of the {magnitudes.size} channels up to "
            f"{number_text(middle)}",
            "Equalize channels (repair equalize), or give the operator a form with one scale per "
            "channel.",
            gain,
        )


def _channel_axis(node: ir.Node, rank: int) -> int:
    if node.op_type == "Conv" or (node.op_type == "Gemm" and attribute(node, "transB", 0)):
        return 0
    return 1 if node.op_type in ("ConvTranspose", "Gemm") else rank - 1


def _outlier(weight: _Stored) -> Iterator[Reason]:
    """Case 3."""
    axis, steps = weight.quantization.axis, _steps(weight)
    magnitudes = _magnitudes(weight, axis)
    if not (magnitudes > 0.0).any() or weight.quantization.zero_point.dtype.name[0] == "u":
        return
    restored = weight.quantization.dequantize(weight.integers).astype(np.float64)
    present = float(np.mean((restored - weight.real) ** 2))
    shape = [1] * weight.real.ndim
    if axis is not None:
        shape[axis] = -1
    least = np.full(magnitudes.shape, np.inf)
    others = tuple(index for index in range(weight.real.ndim) if index != axis)
    for part in _CLIPPED:
        step = np.where(magnitudes > 0.0, part * magnitudes / steps, 1.0).reshape(shape)
        rounded = np.clip(np.rint(weight.real / step), -steps, steps) * step
        noise = np.atleast_1d(((rounded - weight.real) ** 2).mean(axis=others))
        least = np.minimum(least, noise)
    gain = decibels(present, float(least.mean()))
    bulk = np.atleast_1d(np.quantile(np.abs(weight.real), _NEARLY_ALL, axis=others))
    others_gain = decibels(float(np.mean(magnitudes**2)), float(np.mean(bulk**2)))
    if max(gain, others_gain if others_gain >= _SMALLEST_OUTLIER_DB else 0.0) >= SMALLEST_GAIN_DB:
        times = number_text(float(np.median(magnitudes[bulk > 0] / bulk[bulk > 0])))
        yield Reason(
            "weight-outlier",
            f"the largest weights of a channel are {times} times as large as nearly all others",
            "Choose weights = mse, or repair ada_round.",
            max(gain, others_gain),
        )
