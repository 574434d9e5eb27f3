"""Why a tensor of activations loses more than it has to: each reason is a comparison.

The rounding error of a tensor's values is computed with its own scale and with the scale that it
would have without one circumstance. In decibels, with N the mean square of the error:

1. shared scale: its operators tie its scale to other tensors; N with the tied scale over N with
   one for its own range. Where this holds, all others compare with the scale for its own range.
2. range outlier: N over the least N of ranges that saturate a few values, saturation included.
3. symmetric integers: N over N with a zero point that fits the range.
4. spread of channels: the squared step over the mean of the squared steps that each channel would
   have on its own (Nagel et al. 2019, arXiv:1906.04721, section 3.1).

Two have no scale to compare with:

5. saturation: most of the error comes from values beyond the integers.
6. softmax: exp turns a step d of its input into a factor e^d, and weights below half a step of its
   output become zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt

from edgewise.calibration.parameters import affine_parameters, representable
from edgewise.calibration.ranges import Range
from edgewise.calibration.scheme import QMAX, QMIN, IntegerType, NumberFormat, QuantParams
from edgewise.calibration.tensor_errors import TensorError

#: what less than this would win is no reason
SMALLEST_GAIN_DB = 3.0
#: all channels of healthy networks differ by some decibels
_SMALLEST_CHANNEL_GAIN_DB = 12.0
_QUANTILES = (0.9, 0.99, 0.999, 0.9999)
_COARSE_SOFTMAX_STEP = 0.25
_LOST_MASS = 0.01
_MOST = 0.5
_SMALLEST = 1e-30


@dataclass(frozen=True, slots=True)
class Reason:
    """`gain_db` is what the tensor's own SQNR would win without it; None where it is not known."""

    rule: str
    text: str
    remedy: str
    gain_db: float | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is around a tensor: the operator that writes it, those that read it (beyond operators
    that only move data), the range that calibration saw, and the tensors that share its scale with
    their ranges."""

    writer: str
    readers: frozenset[str]
    calibrated: Range | None
    sharing: tuple[tuple[str, Range], ...] = ()


def activation_reasons(
    tensor: TensorError, around: Surroundings, number: NumberFormat
) -> list[Reason]:
    """The reasons that hold for a tensor: saturation, then the one that costs most."""
    if not tensor.quantization.per_tensor:
        return []
    number = replace(number, dtype=cast(IntegerType, tensor.quantization.zero_point.dtype.name))
    present = QuantParams(float(tensor.quantization.scale), int(tensor.quantization.zero_point))
    own = around.calibrated or Range.around_zero(tensor.low, tensor.high)
    alone = present
    found: list[Reason] = []
    if (shared := _shared(tensor, around, present, own, number)) is not None:
        found.append(shared)
        alone = _fitted(own, present, number)
    outlier = _outlier(tensor, alone, number)
    found += [reason for reason in (outlier, _symmetric(tensor, alone, own, number)) if reason]
    if outlier is None and (channels := _channels(tensor, number)) is not None:
        found.append(channels)
    found.sort(key=lambda reason: -(reason.gain_db or 0.0))
    return [*_saturation(tensor, present, number), *found, *_softmax(tensor, around)]


def _noise(values: npt.NDArray[np.float32], parameters: QuantParams, number: NumberFormat) -> float:
    """Mean square of the rounding error."""
    steps = np.rint(values.astype(np.float64) / parameters.scale) + parameters.zero_point
    kept = np.clip(steps, QMIN[number.dtype], QMAX[number.dtype]) - parameters.zero_point
    return float(np.mean((kept * parameters.scale - values) ** 2))


def decibels(before: float, after: float) -> float:
    """In decibels."""
    if before <= 0.0:
        return 0.0
    return math.inf if after <= 0.0 else 10.0 * math.log10(before / after)


def _centred(parameters: QuantParams, number: NumberFormat) -> bool:
    return number.symmetric and parameters.zero_point == _middle(number)


def _middle(number: NumberFormat) -> int:
    return 0 if QMIN[number.dtype] < 0 else (QMAX[number.dtype] + 1) // 2


def _fitted(real: Range, like: QuantParams, number: NumberFormat) -> QuantParams:
    """Parameters for a range, with a zero point in the middle where these have it there."""
    if not _centred(like, number):
        return affine_parameters(real, replace(number, symmetric=False))
    largest = max(-real.low, real.high, _SMALLEST)
    return QuantParams(largest / (QMAX[number.dtype] - _middle(number)), like.zero_point)


def _shared(
    tensor: TensorError,
    around: Surroundings,
    present: QuantParams,
    own: Range,
    number: NumberFormat,
) -> Reason | None:
    """Case 1."""
    wider = [(name, real) for name, real in around.sharing if _width(real) > _width(own)]
    if not wider:
        return None
    alone = _fitted(own, present, number)
    gain = decibels(_noise(tensor.values, present, number), _noise(tensor.values, alone, number))
    if gain < SMALLEST_GAIN_DB or alone.scale >= present.scale:
        return None
    name, real = max(wider, key=lambda entry: _width(entry[1]))
    return Reason(
        "shared-scale",
        f"shares its scale with '{name}' ({interval(real)}), its own range is {interval(own)}",
        "Leave the operator that ties the two in float, or give both branches the same range.",
        gain,
    )


def _outlier(tensor: TensorError, alone: QuantParams, number: NumberFormat) -> Reason | None:
    """Case 2."""
    before = _noise(tensor.values, alone, number)
    ends = representable(alone, number)
    best, limit = 0.0, (0.0, 0.0)
    for kept in _QUANTILES:
        low, high = np.quantile(tensor.values, ((1.0 - kept) / 2, (1.0 + kept) / 2))
        real = Range(max(min(float(low), 0.0), ends.low), min(max(float(high), 0.0), ends.high))
        beyond = max(tensor.high - real.high, 0.0) ** 2 + max(real.low - tensor.low, 0.0) ** 2
        after = _noise(tensor.values, _fitted(real, alone, number), number)
        gain = decibels(before, after + beyond / tensor.count)
        if gain > best:
            best, limit = gain, (real.low, real.high)
    if best < SMALLEST_GAIN_DB:
        return None
    return Reason(
        "range-outlier",
        f"its integers reach {interval(ends)} for a few values; nearly all are in "
        f"{interval(Range(*limit))}",
        "Choose a method that cuts outliers off, such as mse, or percentile.",
        best,
    )


def _symmetric(
    tensor: TensorError, alone: QuantParams, own: Range, number: NumberFormat
) -> Reason | None:
    """Case 3."""
    if not _centred(alone, number):
        return None
    ends = representable(alone, number)
    real = Range(max(own.low, ends.low), min(own.high, ends.high))
    free = affine_parameters(real, replace(number, symmetric=False))
    gain = decibels(_noise(tensor.values, alone, number), _noise(tensor.values, free, number))
    if gain < SMALLEST_GAIN_DB:
        return None
    return Reason(
        "symmetric-waste",
        f"its integers reach {interval(ends)}, its values only {interval(real)}",
        "A target with asymmetric activations wastes nothing; 16 bits do not either.",
        gain,
    )


def _channels(tensor: TensorError, number: NumberFormat) -> Reason | None:
    """Case 4."""
    low, high = tensor.channel_low, tensor.channel_high
    if low is None or high is None or low.size < 2:
        return None
    widths = np.maximum(high, 0.0) - np.minimum(low, 0.0)
    if number.symmetric and low.min() < 0.0:
        widths = 2.0 * np.maximum(np.abs(low), np.abs(high))
    largest = float(widths.max())
    if largest <= 0.0:
        return None
    gain = decibels(1.0, float(np.mean((widths.astype(np.float64) / largest) ** 2)))
    if gain < _SMALLEST_CHANNEL_GAIN_DB:
        return None
    middle, widest = float(np.median(widths)), int(widths.argmax())
    return Reason(
        "activation-channels",
        f"channel {widest} spans {number_text(largest)}, half of the {widths.size} channels at "
        f"most {number_text(middle)}",
        "Equalize channels: repair equalization, or smooth_quant before products.",
        gain,
    )


def _saturation(
    tensor: TensorError, present: QuantParams, number: NumberFormat
) -> Iterator[Reason]:
    """Case 5."""
    if tensor.saturation > _MOST:
        yield Reason(
            "saturation",
            f"{share(tensor.saturated)} of its values lie beyond "
            f"{interval(representable(present, number))} and cause {share(tensor.saturation)} of "
            "its error",
            "Calibrate with data that cover what the model meets, or with method minmax.",
        )


def _softmax(tensor: TensorError, around: Surroundings) -> Iterator[Reason]:
    """Case 6."""
    scale = float(tensor.quantization.scale)
    if "Softmax" in around.readers and scale >= _COARSE_SOFTMAX_STEP:
        yield Reason(
            "softmax-range",
            f"a softmax reads it in steps of {number_text(scale)}: neighbouring integers differ by "
            f"a factor of {math.exp(scale):.2f}",
            "Leave the softmax and what writes its input in float.",
        )
    if around.writer == "Softmax":
        total = float(tensor.values.sum())
        lost = float(tensor.values[tensor.values < scale / 2].sum())
        if total > 0.0 and lost / total > _LOST_MASS:
            yield Reason(
                "softmax-range",
                f"{share(lost / total)} of its weight is in values below half a step of "
                f"{number_text(scale)}, which become zero",
                "Leave the softmax and the product behind it in float.",
            )


def _width(real: Range) -> float:
    return real.high - real.low


def interval(real: Range) -> str:
    return f"[{number_text(real.low)}, {number_text(real.high)}]"


def number_text(value: float) -> str:
    return f"{value:.3g}"


def share(value: float) -> str:
    return f"{100 * value:.2g} %"
