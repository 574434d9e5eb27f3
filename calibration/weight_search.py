"""Magnitudes that weights are quantized from: the largest weight, or the least squared error.

A channel with weights w and scale s = m / qmax is off by

    E(m) = sum_k (s clip(round(w_k / s), -qmax, qmax) - w_k)^2 ,

and the magnitude m of the least error is looked for from max|w| downwards, in steps of 2**(-1/16)
(Nagel et al. 2021, arXiv:2106.08295, section 3.1). A channel is done when a whole octave's quarter
went by without a gain: E rises steeply once it is clipping that counts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_STEP = 2.0 ** (-1 / 16)
_PATIENCE = 4
_MOST_STEPS = 48


def largest_magnitudes(array: npt.NDArray[np.float32], axis: int | None) -> npt.NDArray[np.float64]:
    """max|w| of every channel of `axis`, or of the whole array: float64 (channels,)."""
    magnitudes = np.abs(_channels(array, axis)).max(axis=1, initial=0.0)
    return np.asarray(magnitudes, np.float64)


def least_error_magnitudes(
    array: npt.NDArray[np.float32], axis: int | None, largest_integer: int
) -> npt.NDArray[np.float64]:
    """m of every channel of `axis`, or of the whole array: float64 (channels,).

    Args:
        largest_integer: qmax of the symmetric format.
    """
    rows = np.ascontiguousarray(_channels(array, axis), np.float32)
    best = largest_magnitudes(array, axis)
    tried = best.copy()
    least = _errors(rows, tried, largest_integer)
    waited = np.zeros(len(rows), np.intp)
    active = np.flatnonzero(least > 0.0)
    for _ in range(_MOST_STEPS):
        if not active.size:
            break
        tried[active] *= _STEP
        errors = _errors(rows[active], tried[active], largest_integer)
        better = errors < least[active]
        gained = active[better]
        best[gained], least[gained] = tried[gained], errors[better]
        waited[active] += 1
        waited[gained] = 0
        active = active[waited[active] < _PATIENCE]
    return best


def _channels(array: npt.NDArray[np.float32], axis: int | None) -> npt.NDArray[np.float32]:
    """One row per channel."""
    if axis is None:
        return array.reshape(1, -1)
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)


def _errors(
    rows: npt.NDArray[np.float32], magnitudes: npt.NDArray[np.float64], largest_integer: int
) -> npt.NDArray[np.float64]:
    """E of every row; 0 where the magnitude is too small for a scale."""
    scales = (magnitudes / largest_integer).astype(np.float32)[:, None]
    usable = scales >= np.finfo(np.float32).tiny
    scales = np.where(usable, scales, np.float32(1.0))
    steps = rows / scales
    np.rint(steps, out=steps)
    np.clip(steps, -largest_integer, largest_integer, out=steps)
    steps *= scales
    steps -= rows
    errors = np.einsum("ck,ck->c", steps, steps, dtype=np.float64)
    return np.asarray(errors * usable[:, 0])
