"""Scale and zero point of a real range (Jacob et al. 2018, arXiv:1712.05877, section 3).

With integers in [qmin, qmax] and a range [rmin, rmax] that contains zero:

    asymmetric:          scale = (rmax - rmin) / (qmax - qmin)
                         zero_point = round(qmin - rmin / scale)
    symmetric, signed:   scale = max(-rmin, rmax) / qmax,        zero_point = 0
    symmetric, unsigned: scale = max(-rmin, rmax) / (qmax - m),  zero_point = m = (qmax + 1) / 2

Computed in float64; the scale is then rounded to float32, the form it is stored in.
"""

from __future__ import annotations

import numpy as np

from edgewise.calibration.ranges import Range
from edgewise.calibration.scheme import QMAX, QMIN, NumberFormat, QuantParams

_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


def limits(number: NumberFormat) -> tuple[int, int]:
    """The smallest and the largest integer that the format uses."""
    qmin, qmax = QMIN[number.dtype], QMAX[number.dtype]
    return (-qmax, qmax) if number.narrow_range and qmin < 0 else (qmin, qmax)


def affine_parameters(real: Range, number: NumberFormat) -> QuantParams:
    """Per-tensor parameters for the range; scale 1 and a middle zero point when it is empty."""
    qmin, qmax = limits(number)
    middle = 0 if qmin < 0 else (qmax + 1) // 2
    if number.symmetric:
        scale, zero_point = max(-real.low, real.high) / (qmax - middle), middle
    else:
        scale = (real.high - real.low) / (qmax - qmin)
        zero_point = round(qmin - real.low / scale) if scale >= _SMALLEST_SCALE else middle
    if scale < _SMALLEST_SCALE:
        return QuantParams(1.0, middle)
    return QuantParams(float(np.float32(scale)), int(np.clip(zero_point, qmin, qmax)))


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
