"""What calibration keeps of one tensor, in a fixed number of bytes.

Statistics of two shards add up to the statistics of the whole, exactly and in any order: extremes
are exact, the histogram's bins nest (see `histogram`), and the extremes of single arrays, which a
mean is taken of, are summed as integers, in units of 2**-149: every float32 is a multiple of it.

Channels lie along axis 1 of arrays of rank 4 and more, as in (N, C, H, W), and along the last axis
of those of rank 2 and 3, as in (N, positions, features).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgewise.calibration.histogram import (
    BINS,
    MIN_EXPONENT,
    Histogram,
    counted,
    exponent_of,
    sampled,
)

Array = npt.NDArray[Any]
Channels = npt.NDArray[np.float32]

#: exponent of the smallest float32 above zero
UNIT_EXPONENT = -149


class Monotone(Protocol):
    """A function that rises or stays, elementwise and bit for bit, such as Relu and Clip."""

    def __call__(self, values: Array) -> Array: ...


@dataclass(frozen=True, slots=True, eq=False)
class TensorStatistics:
    """One tensor over all samples. `minimum` and `maximum` are exact float32 values; `count` counts
    every value, the histogram those that were sampled (see `histogram.sampled`).

    `arrays` counts the arrays seen, one per sample; `sum_of_minima` and `sum_of_maxima` are the
    sums of their extremes in units of 2**-149. `channel_minimum` and `channel_maximum` are float32
    (channels,), or None where there are no channels or their number changed.
    """

    minimum: float
    maximum: float
    count: int
    histogram: Histogram
    arrays: int
    sum_of_minima: int
    sum_of_maxima: int
    channel_minimum: Channels | None = None
    channel_maximum: Channels | None = None

    @classmethod
    def of(cls, array: Array, *, channels: bool = True) -> TensorStatistics:
        """Statistics of one non-empty float array of any shape.

        Args:
            channels: whether the axis of channels holds such; False where it holds positions.

        Raises:
            ValueError: the array holds NaN or infinity.
        """
        running = Running()
        running.add(Observation.of(array, channels=channels))
        return running.statistics()

    @property
    def mean_minimum(self) -> float:
        """The mean, over arrays, of their minima."""
        return _mean(self.sum_of_minima, self.arrays)

    @property
    def mean_maximum(self) -> float:
        """The mean, over arrays, of their maxima."""
        return _mean(self.sum_of_maxima, self.arrays)

    def __add__(self, other: TensorStatistics) -> TensorStatistics:
        return TensorStatistics(
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.count + other.count,
            self.histogram + other.histogram,
            self.arrays + other.arrays,
            self.sum_of_minima + other.sum_of_minima,
            self.sum_of_maxima + other.sum_of_maxima,
            _joined(np.minimum, self.channel_minimum, other.channel_minimum),
            _joined(np.maximum, self.channel_maximum, other.channel_maximum),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What one array gives: the extremes of its channels (of the whole where there are none), and
    the values for its histogram. A monotone function of the array has the same function of these,
    so that it need not be fetched."""

    low: Channels
    high: Channels
    values: Array
    count: int
    has_channels: bool

    @classmethod
    def of(cls, array: Array, *, channels: bool = True) -> Observation:
        """Of one non-empty float array."""
        flat = array.reshape(-1)
        low, high = _extremes(array) if channels else (None, None)
        if low is None or high is None:
            return cls(flat.min()[None], flat.max()[None], sampled(flat), flat.size, False)
        return cls(low, high, sampled(flat), flat.size, True)

    def through(self, function: Monotone) -> Observation:
        """What the function of the array gives."""
        low, high = function(self.low), function(self.high)
        return Observation(low, high, function(self.values), self.count, self.has_channels)

    def holding(self, value: np.float32) -> Observation:
        """With a value that counts as an extreme only."""
        low, high = np.minimum(self.low, value), np.maximum(self.high, value)
        return Observation(low, high, self.values, self.count, self.has_channels)


class Running:
    """Statistics of one tensor in the making: what `+` gives, added up in place."""

    __slots__ = ("_arrays", "_count", "_counts", "_exponent", "_high", "_low", "_maxima",
                 "_maximum", "_minima", "_minimum")  # fmt: skip

    def __init__(self) -> None:
        self._count = self._arrays = self._minima = self._maxima = 0
        self._exponent, self._counts = MIN_EXPONENT, np.zeros(BINS, np.int64)
        self._low: Channels | None = None
        self._high: Channels | None = None
        self._minimum, self._maximum = math.inf, -math.inf

    def __bool__(self) -> bool:
        """Whether any array was added."""
        return self._arrays > 0

    def add(self, seen: Observation) -> None:
        """One more array. Raises ValueError where it holds NaN or infinity."""
        low, high = float(seen.low.min()), float(seen.high.max())  # NaN survives both
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("NaN or infinity")
        exponent = exponent_of(max(abs(low), abs(high)))
        if exponent > self._exponent:
            self._counts = Histogram(self._exponent, self._counts).widened(exponent).counts
            self._exponent = exponent
        self._counts += counted(seen.values, self._exponent)
        self._join_channels(seen)
        self._minimum, self._maximum = min(self._minimum, low), max(self._maximum, high)
        self._count += seen.count
        self._arrays += 1
        self._minima += in_units(low)
        self._maxima += in_units(high)

    def _join_channels(self, seen: Observation) -> None:
        first = not self._arrays
        low, high = (seen.low, seen.high) if seen.has_channels else (None, None)
        self._low = low if first else _joined(np.minimum, self._low, low)
        self._high = high if first else _joined(np.maximum, self._high, high)

    def statistics(self) -> TensorStatistics:
        """Of the arrays so far, of which there must be one."""
        return TensorStatistics(
            self._minimum,
            self._maximum,
            self._count,
            Histogram(self._exponent, self._counts.copy()),
            self._arrays,
            self._minima,
            self._maxima,
            self._low,
            self._high,
        )


def in_units(value: float) -> int:
    """A float32 as a multiple of 2**-149."""
    return int(math.ldexp(value, -UNIT_EXPONENT))


def _mean(total: int, arrays: int) -> float:
    return total / (arrays << -UNIT_EXPONENT)  # a ratio of integers is rounded once


def _extremes(array: Array) -> tuple[Channels | None, Channels | None]:
    """The extremes of every channel, where the array has channels."""
    if array.ndim < 2:
        return None, None
    if array.ndim < 4:
        rows = array.reshape(-1, array.shape[-1])
        return rows.min(axis=0), rows.max(axis=0)
    # twice as fast as a reduction along the rows of a matrix, where rows are short
    starts = np.arange(0, array.size, math.prod(array.shape[2:]))
    flat = array.reshape(-1)
    low, high = np.minimum.reduceat(flat, starts), np.maximum.reduceat(flat, starts)
    if array.shape[0] > 1:
        low, high = (side.reshape(array.shape[:2]) for side in (low, high))
        low, high = low.min(axis=0), high.max(axis=0)
    return low, high


def _joined(join: np.ufunc, one: Channels | None, two: Channels | None) -> Channels | None:
    if one is None or two is None or one.shape != two.shape:
        return None
    return np.asarray(join(one, two))
