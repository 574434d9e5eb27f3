"""Scale and zero point of a real range (Jacob et al. 2018, arXiv:1712.05877, section 3).

With integers in [qmin, qmax] and a range [rmin, rmax] that contains zero:

    asymmetric:          scale = (rmax - rmin) / (qmax - qmin)
                         zero_point = round(qmin - rmin / scale)
    symmetric, signed:   scale = max(-rmin, rmax) / qmax,        zero_point = 0
    symmetric, unsigned: scale = max(-rmin, rmax) / (qmax - m),  zero_point = m = (qmax + 1) / 2
    symmetric, no negative values, `whole_range_if_positive`: as asymmetric, zero_point = qmin

Computed in float64; the scale is then rounded to float32, the form it is stored in. A format with
float16 or bfloat16 scales takes the next such number upwards, so that the range stays covered.
"""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import numpy.typing as npt

from edgewise.calibration.ranges import Range, Stored
from edgewise.calibration.scheme import QMAX, QMIN, NumberFormat, QuantParams

_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
_SMALLEST_NORMAL_HALF = float(np.finfo(np.float16).smallest_normal)
_LARGEST_HALF = float(np.finfo(np.float16).max)


def limits(number: NumberFormat) -> tuple[int, int]:
    """The smallest and the largest integer that the format uses."""
    qmin, qmax = QMIN[number.dtype], QMAX[number.dtype]
    return (-qmax, qmax) if number.narrow_range and qmin < 0 else (qmin, qmax)


def storable_scales(
    scales: npt.NDArray[np.float64], number: NumberFormat
) -> npt.NDArray[np.float32]:
    """The scales as the format stores them: as 16 bits, the next number upwards.

    Never below the smallest normal float16, for both types: smaller ones keep few significant bits,
    and so every bfloat16 scale is a float16 number too, up to float16's largest. Infinite beyond.
    """
    if number.scale_dtype == "float32":
        return scales.astype(np.float32)
    dtype = np.dtype(np.float16 if number.scale_dtype == "float16" else ml_dtypes.bfloat16)
    with np.errstate(over="ignore"):
        short = np.maximum(scales, _SMALLEST_NORMAL_HALF).astype(dtype)
        above = np.nextafter(short, np.array(np.inf, dtype))
        stored = np.where(short.astype(np.float64) < scales, above, short).astype(np.float32)
    return np.where(stored <= _LARGEST_HALF, stored, np.float32(np.inf))


def storable_scale(scale: float, number: NumberFormat) -> float:
    """`storable_scales` of a single one."""
    return float(storable_scales(np.array([scale]), number)[0])


def kept_parameters(stored: Stored, number: NumberFormat) -> QuantParams | None:
    """A source's own parameters, where the format has the same integers for the same values.

    Between signed and unsigned integers of the same width, both integers and zero point move by
    half of their number: `q' - z' = q - z`. None for another width, and for a zero point that a
    symmetric format does not have.
    """
    qmin, qmax = QMIN[number.dtype], QMAX[number.dtype]
    if QMAX[stored.dtype] - QMIN[stored.dtype] != qmax - qmin:
        return None
    zero_point = stored.zero_point - QMIN[stored.dtype] + qmin
    middle = 0 if qmin < 0 else (qmax + 1) // 2
    scale = storable_scale(stored.scale, number)
    allowed = {middle, qmin} if number.whole_range_if_positive else {middle}
    if (number.symmetric and zero_point not in allowed) or not math.isfinite(scale):
        return None
    return QuantParams(scale, zero_point)


def affine_parameters(real: Range, number: NumberFormat) -> QuantParams:
    """Per-tensor parameters for the range; scale 1 and a middle zero point when it is empty.

    Those that a quantized source stored the tensor with, wherever the format can."""
    if real.stored is not None and (kept := kept_parameters(real.stored, number)) is not None:
        return kept
    qmin, qmax = limits(number)
    middle = 0 if qmin < 0 else (qmax + 1) // 2
    symmetric = number.symmetric and not (number.whole_range_if_positive and real.low >= 0.0)
    if symmetric:
        scale = max(-real.low, real.high) / (qmax - middle)
    else:
        scale = (real.high - real.low) / (qmax - qmin)
    if scale < _SMALLEST_SCALE:
        return QuantParams(1.0, middle)
    if number.scale_dtype != "float32":
        scale = storable_scale(scale, number)
    zero_point = middle if symmetric else round(qmin - real.low / scale)
    return QuantParams(storable_scale(scale, number), min(max(zero_point, qmin), qmax))


def symmetric_scales(
    magnitudes: npt.NDArray[np.floating], number: NumberFormat
) -> npt.NDArray[np.float32]:
    """The scales of many symmetric ranges [-m, m] at once, as the format stores them."""
    scales = magnitudes.astype(np.float64) / limits(number)[1]
    return storable_scales(np.where(scales < _SMALLEST_SCALE, 1.0, scales), number)


def prescribed(fixed: QuantParams) -> QuantParams:
    """A prescribed pair as it is stored: the scale rounded to float32."""
    return QuantParams(float(np.float32(fixed.scale)), fixed.zero_point)


def representable(parameters: QuantParams, number: NumberFormat) -> Range:
    """The real values of the smallest and the largest integer of the stored type."""
    qmin, qmax = QMIN[number.dtype], QMAX[number.dtype]
    return Range(
        (qmin - parameters.zero_point) * parameters.scale,
        (qmax - parameters.zero_point) * parameters.scale,
    )
