"""Ranges that a search over the histogram chooses: least squared error, and least divergence.

Both try every pair of bin edges (a, b) around zero, one end at a time until neither moves; one edge
t, with a = -t, where the format is symmetric. Ends never leave the extremes that were seen.

Squared error (Nagel et al. 2021, arXiv:2106.08295, section 3.1; its two parts as in Banner et al.
2019, arXiv:1810.05723, section 3): a value inside is off by at most half a step, one outside by its
distance to the range,

    E(a, b) = n_inside (b - a)^2 / (12 L^2) + sum_{x < a} (x - a)^2 + sum_{x > b} (x - b)^2

for L steps. n_inside leaves out the bin at zero, which every format represents exactly: after a
Relu, half of all values are there. The sums follow from cumulated moments of the histogram.

Divergence (Migacz 2017, "8-bit Inference with TensorRT", GTC): P is the histogram inside, with what
is outside added to its edge bins; Q is the histogram inside, its bins merged to as many cells as
the format has integers, and the count of each cell spread over its bins that are not empty,

    KL(P || Q) = sum_i P_i log(P_i / Q_i) .

With S_j values in n_j bins of cell j, Q_i = S_j / n_j there, and the sum over the bins of a cell
needs no more than cumulated sums of c_i, c_i log c_i and [c_i > 0]. The bin at zero counts no more
than the one beside it, for the reason above. A format of more integers than there are bins has
nothing to merge, and takes all values.

Histograms of large tensors are sampled, and the largest values are rarely among the samples. The
two extremes, which are exact, count as one more sampled value each, so that no search takes a
tensor for narrower than it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewise.calibration.histogram import BINS
from edgewise.calibration.scheme import QMAX, QMIN, NumberFormat
from edgewise.calibration.tensor_statistics import TensorStatistics

Edges = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]
#: the cost of every pair of edges of two arrays of one shape
Cost = Callable[[Edges, Edges], Floats]

_ZERO = BINS // 2
_ROUNDS = 8
#: candidates for one end, where each costs a pass over all cells
_CANDIDATES = 96
#: the count of an empty cell, where the divergence would be infinite
_ALMOST_NOTHING = 1e-4


def is_mirrored(statistics: TensorStatistics, number: NumberFormat) -> bool:
    """Whether the format spends as many integers below zero as above it on such a tensor."""
    return number.symmetric and not (number.whole_range_if_positive and statistics.minimum >= 0.0)


def least_squared_error(statistics: TensorStatistics, number: NumberFormat) -> tuple[float, float]:
    """The range (low, high) of the least expected squared error."""
    cost = _SquaredError.of(statistics, QMAX[number.dtype] - QMIN[number.dtype])
    return _search(statistics, is_mirrored(statistics, number), cost, least=1, stride=1)


def least_divergence(statistics: TensorStatistics, number: NumberFormat) -> tuple[float, float]:
    """The range (low, high) of the least divergence."""
    cells = QMAX[number.dtype] - QMIN[number.dtype] + 1
    if cells > BINS:
        return statistics.minimum, statistics.maximum
    mirrored = is_mirrored(statistics, number)
    stride = max(_ZERO // _CANDIDATES, 1)
    return _search(statistics, mirrored, _Divergence.of(statistics, cells), cells, stride)


def _search(
    statistics: TensorStatistics, mirrored: bool, cost: Cost, least: int, stride: int
) -> tuple[float, float]:
    """The cheapest range that is at least `least` bins wide; candidates are `stride` bins apart."""
    width = statistics.histogram.width
    bottom = _ZERO + min(int(np.floor(statistics.minimum / width)), 0)
    top = _ZERO + max(int(np.ceil(statistics.maximum / width)), 0)
    if mirrored:
        reach = max(_ZERO - bottom, top - _ZERO)
        tried = _backwards(reach, max(-(-least // 2), 1), stride)
        best = int(tried[np.argmin(cost(_ZERO - tried, _ZERO + tried))]) if tried.size else reach
        low, high = _ZERO - best, _ZERO + best
    else:
        low, high = _both_ends(bottom, top, cost, least, stride)
    return (
        max((low - _ZERO) * width, statistics.minimum),
        min((high - _ZERO) * width, statistics.maximum),
    )


def _both_ends(bottom: int, top: int, cost: Cost, least: int, stride: int) -> tuple[int, int]:
    """One end at a time, from the range of all values."""
    low, high = bottom, top
    for _ in range(_ROUNDS):
        before = low, high
        highs = _backwards(top, max(low + least, _ZERO), stride)
        if highs.size:
            high = int(highs[np.argmin(cost(np.full_like(highs, low), highs))])
        lows = -_backwards(-bottom, max(least - high, -_ZERO), stride)
        if lows.size:
            low = int(lows[np.argmin(cost(lows, np.full_like(lows, high)))])
        if (low, high) == before:
            break
    return low, high


def _backwards(last: int, first: int, stride: int) -> Edges:
    """From `last` down to `first`, so that the widest of equals wins."""
    return np.arange(last, first - 1, -stride, dtype=np.intp)


def _counts(statistics: TensorStatistics) -> Floats:
    """The histogram as it is searched: see the end of the module's text."""
    counts = statistics.histogram.counts.astype(np.float64)
    if statistics.count > counts.sum():
        for extreme in (statistics.minimum, statistics.maximum):
            counts[_ZERO + int(np.floor(extreme / statistics.histogram.width))] += 1.0
    return counts


def _cumulated(values: npt.NDArray[Any]) -> Floats:
    return np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))


@dataclass(frozen=True, slots=True)
class _SquaredError:
    """Of ranges between bin edges; lengths are in bins, which does not change the order."""

    steps: int
    zeroth: Floats
    first: Floats
    second: Floats
    at_zero: float

    @classmethod
    def of(cls, statistics: TensorStatistics, steps: int) -> _SquaredError:
        counts = _counts(statistics)
        centres = np.arange(BINS) - _ZERO + 0.5
        zeroth, first, second = (_cumulated(counts * centres**power) for power in range(3))
        return cls(steps, zeroth, first, second, float(counts[_ZERO]))

    def __call__(self, low: Edges, high: Edges) -> Floats:
        below, above = (np.asarray(end - _ZERO, np.float64) for end in (low, high))
        inside = self.zeroth[high] - self.zeroth[low] - self.at_zero * (high > _ZERO)
        rounding = inside * ((above - below) / self.steps) ** 2 / 12.0
        return np.asarray(rounding + self._beyond(0, low, below) + self._beyond(high, BINS, above))

    def _beyond(self, begin: Edges | int, end: Edges | int, limit: Floats) -> Floats:
        """The sum of (x - limit)^2 over the bins from `begin` to before `end`."""
        zeroth, first, second = (
            moment[end] - moment[begin] for moment in (self.zeroth, self.first, self.second)
        )
        return np.asarray(second - 2.0 * limit * first + limit * limit * zeroth)


@dataclass(frozen=True, slots=True)
class _Divergence:
    """Of ranges between bin edges, of at least as many bins as cells."""

    cells: int
    counts: Floats
    total: float
    summed: Floats
    filled: Floats
    entropy: Floats

    @classmethod
    def of(cls, statistics: TensorStatistics, cells: int) -> _Divergence:
        counts = _counts(statistics)
        counts[_ZERO] = min(counts[_ZERO], counts[_ZERO + 1])
        columns = (counts, counts > 0, _times_log(counts))
        return cls(cells, counts, float(counts.sum()), *map(_cumulated, columns))

    def __call__(self, low: Edges, high: Edges) -> Floats:
        places = np.arange(self.cells + 1) * (high - low)[:, None] // self.cells + low[:, None]
        values = np.diff(self.summed[places])
        bins = np.diff(self.filled[places])
        inner = np.maximum(values.sum(axis=1), _ALMOST_NOTHING)
        density = np.log(np.maximum(values, _ALMOST_NOTHING) / np.maximum(bins, 1.0))
        below, above = self.summed[low], self.total - self.summed[high]
        cross = (values * density).sum(axis=1) + below * density[:, 0] + above * density[:, -1]
        own = self.entropy[high] - self.entropy[low]
        for edge, outside in ((low, below), (high - 1, above)):
            own += _times_log(self.counts[edge] + outside) - _times_log(self.counts[edge])
        total = max(self.total, 1.0)
        return np.asarray((own - cross) / total + np.log(inner / total))


def _times_log(values: Floats) -> Floats:
    """x log x, 0 at 0."""
    return np.asarray(values * np.log(np.maximum(values, np.finfo(np.float64).tiny)))
