"""From statistics to the real range [rmin, rmax] that quantization must represent.

A range always contains zero, since padding and ReLU need an exact zero (see `parameters.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from edgewise.calibration.range_search import least_divergence, least_squared_error
from edgewise.calibration.scheme import IntegerType, NumberFormat
from edgewise.calibration.statistics import Histogram, TensorStatistics
from edgewise.errors import UsageError

DEFAULT_PERCENTILE = 99.99


@dataclass(frozen=True, slots=True)
class Stored:
    """How the source stored a tensor: `real = (quantized - zero_point) * scale`, scale float32."""

    scale: float
    zero_point: int
    dtype: IntegerType


@dataclass(frozen=True, slots=True)
class Range:
    """Real values from `low` to `high`, both finite, low <= 0 <= high.

    `stored` is set where the range is that of all integers of a quantized source.
    """

    low: float
    high: float
    stored: Stored | None = field(default=None, compare=False)

    @classmethod
    def around_zero(cls, low: float, high: float) -> Range:
        """[low, high] extended to zero."""
        return cls(min(low, 0.0), max(high, 0.0))

    def union(self, other: Range) -> Range:
        """The smallest range that holds both; one of the two itself where it holds the other."""
        if self._holds(other) and (self.stored or not other._holds(self)):
            return self
        if other._holds(self):
            return other
        return Range(min(self.low, other.low), max(self.high, other.high))

    def _holds(self, other: Range) -> bool:
        return self.low <= other.low and other.high <= self.high


#: what a range is for where nothing else is said
_INT8 = NumberFormat("int8", symmetric=False)


class RangeMethod(Protocol):
    """Chooses a range; `percentile` is in 0..100, `number` is the format the range is for. Methods
    ignore what they have no use for."""

    def __call__(
        self, statistics: TensorStatistics, percentile: float, number: NumberFormat = ...
    ) -> Range: ...


def minmax(
    statistics: TensorStatistics,
    percentile: float = DEFAULT_PERCENTILE,
    number: NumberFormat = _INT8,
) -> Range:
    """rmin = min(x), rmax = max(x): nothing saturates on the calibration data."""
    return Range.around_zero(statistics.minimum, statistics.maximum)


def moving_average(
    statistics: TensorStatistics,
    percentile: float = DEFAULT_PERCENTILE,
    number: NumberFormat = _INT8,
) -> Range:
    """The mean of the samples' extremes (averaged as in Jacob et al. 2018, arXiv:1712.05877,
    section 3.1):

        rmin = mean over samples s of min(x_s),  rmax = mean over samples s of max(x_s)

    An exponential average would depend on the order of the samples and would not add up; all
    samples weigh the same here, which is its limit for a long memory.
    """
    return Range.around_zero(statistics.mean_minimum, statistics.mean_maximum)


def entropy(
    statistics: TensorStatistics,
    percentile: float = DEFAULT_PERCENTILE,
    number: NumberFormat = _INT8,
) -> Range:
    """The range whose integers tell most of the distribution; see `range_search`."""
    return Range.around_zero(*least_divergence(statistics, number))


def mse(
    statistics: TensorStatistics,
    percentile: float = DEFAULT_PERCENTILE,
    number: NumberFormat = _INT8,
) -> Range:
    """The range of the least expected squared error; see `range_search`."""
    return Range.around_zero(*least_squared_error(statistics, number))


def percentile(
    statistics: TensorStatistics,
    percentile: float = DEFAULT_PERCENTILE,
    number: NumberFormat = _INT8,
) -> Range:
    """The middle `percentile` percent of the values; the same share is cut off at both ends.

        rmin = quantile(x, (1 - p/100) / 2),  rmax = quantile(x, 1 - (1 - p/100) / 2)

    Quantiles are read from the histogram with linear interpolation inside a bin, so they are off
    by at most one bin width (largest magnitude / 1024), and never leave [min(x), max(x)].
    """
    cut = (1.0 - percentile / 100.0) / 2.0
    low = _quantile(statistics.histogram, cut)
    high = _quantile(statistics.histogram, 1.0 - cut)
    return Range.around_zero(
        max(low, statistics.minimum), max(min(high, statistics.maximum), statistics.minimum)
    )


def _quantile(histogram: Histogram, share: float) -> float:
    """The value below which `share` of the counts lies."""
    cumulative = np.concatenate(([0], np.cumsum(histogram.counts)))
    wanted = share * float(cumulative[-1])
    # `right` skips the empty bins before the first value; the end clamps share = 1
    index = int(np.searchsorted(cumulative, wanted, side="right")) - 1
    index = min(index, int(np.flatnonzero(histogram.counts)[-1]))
    inside = (wanted - float(cumulative[index])) / max(float(histogram.counts[index]), 1.0)
    return float((index - len(histogram.counts) // 2 + min(inside, 1.0)) * histogram.width)


#: every method a user can name
METHODS: Mapping[str, RangeMethod] = {
    "minmax": minmax,
    "moving_average": moving_average,
    "percentile": percentile,
    "entropy": entropy,
    "mse": mse,
}


def range_method(name: str) -> RangeMethod:
    """The method of that name. Raises UsageError for an unknown one."""
    if name not in METHODS:
        raise UsageError(
            f"unknown calibration method '{name}'", remedy=f"Choose one of {', '.join(METHODS)}."
        )
    return METHODS[name]
