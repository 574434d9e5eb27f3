"""The factors of one equalized tensor, and what they are worth: see `equalization`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from edgewise.calibration.parameters import limits
from edgewise.calibration.repairs.channel_values import ChannelValues, Vector
from edgewise.calibration.scheme import NumberFormat

#: a channel is scaled by this much at most
LARGEST = 4096.0
#: share of the largest channel below which a channel is taken for dead, and left as it is
_DEAD = 1e-5
_TINY = 1e-30

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Choice:
    """The exponent a, and how far beyond what was seen a channel may reach."""

    exponent: float
    headroom: float


CHOICES = tuple(
    Choice(exponent, headroom)
    for headroom, exponent in product((1.1, 1.5, 2.0, 4.0), (0.25, 0.5, 0.75, 1.0))
)
#: all factors 1
UNCHANGED = Choice(0.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """A layer that reads the tensor: its weights (G, O, I, P), the mean squares of its inputs
    (G * I,), and the worth of noise at its outputs (G * O,)."""

    matrix: Matrix
    power: Vector
    importance: Vector


def between_weights(first: Matrix, columns: Vector) -> Vector:
    """s_c = sqrt(max|W1[c]| / max|W2[:, c]|), for one scale per weight tensor.

    Args:
        first: W1 as (C, K).
        columns: largest magnitudes of W2 per channel, (C,).
    """
    rows = np.abs(first).max(axis=1)
    alive = (rows > _DEAD * rows.max(initial=0.0)) & (columns > _DEAD * columns.max(initial=0.0))
    ratio = np.where(alive, rows, 1.0) / np.where(alive, columns, 1.0)
    return np.where(alive, np.clip(np.sqrt(ratio), 1.0 / LARGEST, LARGEST), 1.0)


def between_ranges(head: ChannelValues, bound: Vector, columns: Vector, choice: Choice) -> Vector:
    """s_c = r_c^a / q_c^(1 - a), normalized so that the largest of r / s is the largest of r.

    Args:
        head: of the tensor.
        bound: the least upper bound that a Clip gives each channel, infinite without, (C,).
        columns: q, largest magnitudes per channel of the rows of W2, each relative to its row.
    """
    seen = head.magnitude
    top = float(seen.max(initial=0.0))
    reach = np.minimum(seen * choice.headroom, top)
    alive = (seen > _DEAD * top) & (columns > _DEAD)
    size, taken = np.where(alive, reach, 1.0), np.where(alive, columns, 1.0)
    factors = size**choice.exponent / taken ** (1.0 - choice.exponent)
    factors *= (size / factors)[alive].max(initial=0.0) / max(top, _TINY)
    factors = np.where(alive, np.clip(factors, 1.0 / LARGEST, LARGEST), 1.0)
    return within_bounds(factors, head, bound, choice.headroom)


def within_bounds(factors: Vector, head: ChannelValues, bound: Vector, headroom: float) -> Vector:
    """The factors, raised to where no Clip acts: s_c >= headroom max(y_c) / u; 1 where it acts
    already, or nearly so."""
    floors = np.maximum(head.maximum, 0.0) * headroom / bound
    near = np.maximum(head.maximum, 0.0) * CHOICES[0].headroom >= bound
    return np.where(near, 1.0, np.maximum(factors, np.minimum(floors, 1.0)))


def span(factors: Vector, head: ChannelValues) -> tuple[float, float]:
    """The range of the scaled tensor, around zero."""
    low, high = (head.minimum / factors).min(), (head.maximum / factors).max()
    return min(float(low), 0.0), max(float(high), 0.0)


def noise(
    factors: Vector,
    head: ChannelValues,
    lost: Vector,
    reads: Sequence[Read],
    activation: NumberFormat,
    weight: NumberFormat,
) -> float:
    """Squared error at the outputs of the readers, each by its importance, but for a factor 1/12.

    Args:
        lost: mean square of what held-out data lose at the ends of the range, (C,), unscaled.
    """
    qmin, qmax = limits(activation)
    low, high = span(factors, head)
    step = (2.0 * max(-low, high) if activation.symmetric else high - low) / (qmax - qmin)
    total = 0.0
    for read in reads:
        matrix = read.matrix
        groups = matrix.shape[0]
        repeat = read.power.size // factors.size
        scales = np.repeat(factors, repeat).reshape(groups, 1, -1, 1)
        missing = np.repeat(lost, repeat).reshape(groups, 1, -1, 1)
        power = read.power.reshape(groups, 1, -1, 1)
        scaled = matrix * scales
        steps = np.abs(scaled).max(axis=(2, 3)) / limits(weight)[1]
        rounded = step**2 * (scaled**2).sum(axis=(2, 3))
        rounded += steps**2 * matrix.shape[3] * (power / scales**2).sum(axis=(2, 3))
        rounded += 12.0 * (matrix**2 * missing).sum(axis=(2, 3))
        total += float((rounded.reshape(-1) * read.importance).sum())
    return total


def output_power(matrix: Matrix, power: Vector) -> Vector:
    """Sum over inputs of W^2 E[x^2]: the power of each output (G * O,), of independent inputs."""
    squares = matrix**2 * power.reshape(matrix.shape[0], 1, -1, 1)
    return np.asarray(squares.sum(axis=(2, 3)).reshape(-1))


def worth_of_inputs(matrix: Matrix, power: Vector, channels: int) -> Vector:
    """What noise in each channel (C,) adds to the outputs, relative to the power of each output."""
    signal = output_power(matrix, power).reshape(matrix.shape[0], -1, 1, 1)
    alive = signal > _DEAD**2 * max(float(signal.max(initial=0.0)), _TINY)
    share = np.where(alive, matrix**2 / np.where(alive, signal, 1.0), 0.0)
    return np.asarray(share.sum(axis=(1, 3)).reshape(channels, -1).sum(axis=1))


def columns_of(matrix: Matrix, channels: int, *, by_row: bool) -> Vector:
    """Largest magnitudes of weights (G, O, I, P) per channel, (C,); with `by_row`, relative to the
    largest of the row."""
    size = np.abs(matrix)
    if by_row:
        size = size / np.maximum(size.max(axis=(2, 3), keepdims=True), _TINY)
    return np.asarray(size.max(axis=(1, 3)).reshape(channels, -1).max(axis=1))
