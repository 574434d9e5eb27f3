"""Confidence intervals by resampling, since 300 examples cannot resolve half a point.

Percentile intervals of the nonparametric bootstrap (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 13). Two systems that saw the same examples are resampled together
(paired), which removes the difficulty of the examples from the interval. The same input gives the
same interval, unless a statistic is so slow that time ends the resampling.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Interval = tuple[float, float]

RESAMPLES = 2000
#: of a statistic that is no mean: mAP of 128 pictures takes 5 ms
STATISTIC_RESAMPLES = 500
#: fewer resamples leave the 2.5 % tail to a handful of values
_FEWEST = 200
_SEED = 20240229
_CONFIDENCE = 0.95
#: indices drawn at once, so that memory does not grow with the number of examples
_CHUNK = 1_000_000


def mean_interval(values: Floats, *, resamples: int = RESAMPLES) -> Interval | None:
    """95 % interval of the mean of `values` (n,); None for fewer than two.

    With `values = a - b` over the same examples it is the paired interval of mean(a) - mean(b).
    """
    count = len(values)
    if count < 2:
        return None
    generator = np.random.default_rng(_SEED)
    rows = max(1, _CHUNK // count)
    means = [
        values[generator.integers(0, count, (min(rows, resamples - start), count))].mean(axis=1)
        for start in range(0, resamples, rows)
    ]
    return _percentiles(np.concatenate(means))


def statistic_interval(
    statistic: Callable[[Indices], float],
    count: int,
    *,
    resamples: int = STATISTIC_RESAMPLES,
    seconds: float = 20.0,
    clock: Callable[[], float] = time.monotonic,
) -> Interval | None:
    """95 % interval of a statistic that is no mean, such as mAP.

    Args:
        statistic: its value on the examples of the given indices (n,), repeats included.
        count: number of examples.
        seconds: stop early after this time; with fewer than 200 resamples there is no interval.

    Returns:
        The interval, or None for fewer than two examples or too slow a statistic.
    """
    if count < 2:
        return None
    generator = np.random.default_rng(_SEED)
    began = clock()
    found: list[float] = []
    while len(found) < resamples:
        found.append(statistic(generator.integers(0, count, count)))
        if clock() - began > seconds:
            break
    return _percentiles(np.asarray(found)) if len(found) >= min(_FEWEST, resamples) else None


def _percentiles(statistics: Floats) -> Interval:
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(statistics, [tail, 1 - tail])
    return float(low), float(high)
