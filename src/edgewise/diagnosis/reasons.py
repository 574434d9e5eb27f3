"""Why a tensor of activations loses more than it has to: each reason is a comparison.

The rounding error of a tensor's values is computed with its own scale and with the scale that it
would have without one circumstance. In decibels, with N the mean square of the error:

1. shared scale: its operators tie its scale to other tensors; N with the tied scale over N with
   one for its own range. Where this holds, all others compare with the scale for its own range.
2. range outlier: N over the least N of ranges that saturate a few values, saturation included; or
   the squared step over that of the range which holds all values but one in 200.
3. symmetric integers: N over N with a zero point that fits the range.
4. spread of channels: the squared magnitude of the largest channel over that of the median one,
   whose step is as much too large (Nagel et al. 2019, arXiv:1906.04721, section 3.1). Magnitudes
   are means, which single outliers do not move.

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
#: channels of healthy networks differ by a few times
_SMALLEST_CHANNEL_DB = 20.0
_FEWEST_CHANNELS = 4
#: what is beyond, at most one value in 200, is worth a fourth of the steps to nobody
_NEARLY_ALL = 0.995
_SMALLEST_OUTLIER_DB = 12.0
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
    channels = _channels(tensor)
    outlier = _outlier(tensor, alone, number) if channels is None else None
    symmetric = _symmetric(tensor, alone, own, number)
    found += [reason for reason in (channels, outlier, symmetric) if reason is not None]
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
    ends = representable(alone, number)
    before = _noise(tensor.values, alone, number)
    best, limit = 0.0, Range(0.0, 0.0)
    for kept in _QUANTILES:
        real = _middle_range(tensor, kept, ends)
        beyond = max(tensor.high - real.high, 0.0) ** 2 + max(real.low - tensor.low, 0.0) ** 2
        after = _noise(tensor.values, _fitted(real, alone, number), number)
        gain = decibels(before, after + beyond / tensor.count)
        if gain > best:
            best, limit = gain, real
    nearly_all = _middle_range(tensor, _NEARLY_ALL, ends)
    others = 2.0 * decibels(alone.scale, _fitted(nearly_all, alone, number).scale)
    if others >= _SMALLEST_OUTLIER_DB and _width(nearly_all) > 0.0:
        best, limit = others, nearly_all
    if best < SMALLEST_GAIN_DB:
        return None
    return Reason(
        "range-outlier",
        f"its integers reach {interval(ends)} for a few values; nearly all are in "
        f"{interval(limit)}",
        "Choose a method that cuts outliers off, such as mse, or percentile.",
        best,
    )


def _middle_range(tensor: TensorError, kept: float, ends: Range) -> Range:
    """What a share of the values lies in, zero, and no more than the integers reach."""
    low, high = np.quantile(tensor.values, ((1.0 - kept) / 2, (1.0 + kept) / 2))
    return Range(max(min(float(low), 0.0), ends.low), min(max(float(high), 0.0), ends.high))


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


def _channels(tensor: TensorError) -> Reason | None:
    """Case 4."""
    means = tensor.channels
    if means is None or np.count_nonzero(means) < _FEWEST_CHANNELS:
        return None
    largest, middle = float(means.max()), float(np.median(means[means > 0.0]))
    gain = 2.0 * decibels(largest, middle)
    if gain < _SMALLEST_CHANNEL_DB:
        return None
    return Reason(
        "activation-channels",
        f"values of channel {int(means.argmax())} are {number_text(largest)} on average, those of "
        f"half of the {means.size} channels at most {number_text(middle)}",
        "Equalize channels: repair equalize, or smooth_quant before products.",
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
