"""The factors of one equalized tensor: see `equalization` for the algebra."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edgewise.calibration.parameters import limits
from edgewise.calibration.repairs.channel_values import Vector
from edgewise.calibration.scheme import NumberFormat

EXPONENTS = (0.25, 0.5, 0.75, 1.0)
#: a channel is scaled by this much at most: what calibration hardly saw may be larger elsewhere
LARGEST = 32.0
#: share of the largest channel below which a channel is taken for dead, and left as it is
_DEAD = 1e-5
#: noise must fall to this share to be worth a rewrite
_WORTH = 0.95
_TINY = 1e-30

Matrix = npt.NDArray[np.float64]


def between_weights(first: Matrix, columns: Vector) -> Vector:
    """s_c = sqrt(max|W1[c]| / max|W2[:, c]|), for one scale per weight tensor.

    Args:
        first: W1 as (C, K).
        columns: largest magnitudes of W2 per channel, (C,).
    """
    rows = np.abs(first).max(axis=1)
    alive = (rows > _DEAD * rows.max(initial=0.0)) & (columns > _DEAD * columns.max(initial=0.0))
    ratio = np.where(alive, rows, 1.0) / np.where(alive, columns, 1.0)
    factors = np.sqrt(ratio / np.exp(np.log(ratio[alive]).mean())) if alive.any() else ratio
    return np.clip(np.where(alive, factors, 1.0), 1.0 / LARGEST, LARGEST)


def candidates(magnitude: Vector, columns: Vector) -> list[Vector]:
    """The factors of each exponent, normalized so that the largest of `magnitude` stays.

    Args:
        magnitude: largest magnitudes of the tensor's channels, (C,).
        columns: largest magnitudes per channel of the rows of W2, each relative to its row.
    """
    top = magnitude.max(initial=0.0)
    alive = (magnitude > _DEAD * top) & (columns > _DEAD)
    size, taken = np.where(alive, magnitude, 1.0), np.where(alive, columns, 1.0)
    found = []
    for exponent in EXPONENTS:
        factors = size**exponent / taken ** (1.0 - exponent)
        factors *= (size / factors)[alive].max(initial=0.0) / max(top, _TINY)
        found.append(np.where(alive, np.clip(factors, 1.0 / LARGEST, LARGEST), 1.0))
    return found


def noise(
    factors: Vector,
    low: Vector,
    high: Vector,
    mean_square: Sequence[Vector],
    readers: Sequence[Matrix],
    activation: NumberFormat,
    weight: NumberFormat,
) -> float:
    """Noise at the outputs of the readers, relative to their power, summed up.

    Args:
        low, high: extremes of the tensor's channels before they are scaled, (C,).
        mean_square: of what each reader reads, per input channel (G * I,).
        readers: weights of the readers, (G, O, I, P) with channels in the order of `factors`.
    """
    qmin, qmax = limits(activation)
    least, most = min((low / factors).min(), 0.0), max((high / factors).max(), 0.0)
    span = 2.0 * max(-least, most) if activation.symmetric else most - least
    step = span / (qmax - qmin)
    total = 0.0
    for matrix, squares in zip(readers, mean_square, strict=True):
        spread = np.repeat(factors, squares.size // factors.size)
        scales = spread.reshape(matrix.shape[0], 1, -1, 1)
        power = squares.reshape(matrix.shape[0], 1, -1, 1)
        scaled = matrix * scales
        signal = (matrix**2 * power).sum(axis=(2, 3))
        steps = np.abs(scaled).max(axis=(2, 3)) / limits(weight)[1]
        if weight.granularity == "per_tensor":
            steps = np.full_like(steps, steps.max(initial=0.0))
        rounded = step**2 * (scaled**2).sum(axis=(2, 3))
        positions = matrix.shape[3]
        rounded += steps**2 * positions * (power / scales**2).sum(axis=(2, 3))
        alive = signal > _TINY
        total += float((rounded[alive] / signal[alive]).sum())
    return total


def best(
    found: Sequence[Vector], cost: Callable[[Vector], float], adapt: Callable[[Vector], Vector]
) -> Vector | None:
    """The candidate of least cost once `adapt` made it fit; None where none is worth it."""
    fitting = [adapt(factors) for factors in found]
    costs = [cost(factors) for factors in fitting]
    index = int(np.argmin(costs))
    unchanged = cost(np.ones_like(found[0]))
    return fitting[index] if costs[index] < _WORTH * unchanged else None
