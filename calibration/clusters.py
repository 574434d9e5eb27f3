"""k-means of many numbers on a line: the few values that stand for them with the least squares.

Lloyd's algorithm (Lloyd 1982, doi:10.1109/TIT.1982.1056489) on sorted numbers: a cluster is a run
between two midpoints, found by bisection, and its mean is a difference of running sums, so that a
round costs as much for ten million numbers as for a thousand. It starts from the density that is
best for many clusters, the cube root of that of the numbers (Panter and Dite 1951,
doi:10.1109/JRPROC.1951.230419). Nothing is random.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_ROUNDS = 1000
_KNOTS = 2048


def cluster(numbers: npt.NDArray[Any], count: int) -> Floats:
    """At most `count` values, ascending: all different numbers where they are no more than that.

    Args:
        numbers: finite, at least one, of any shape.
        count: how many values to find.
    """
    line = np.sort(numbers, axis=None).astype(np.float64)
    different: Floats = line[np.concatenate([[True], np.diff(line) > 0])]
    if different.size <= count:
        return different
    sums: Floats = np.concatenate([[0.0], np.cumsum(line)])
    squares = np.concatenate([[0.0], np.cumsum(line * line)])
    centres = _start(line, count)
    before = np.empty(0, np.int64)
    for _ in range(_ROUNDS):
        edges = _edges(line, centres)
        if np.array_equal(edges, before):
            break
        before = edges
        sizes = np.diff(edges)
        if (sizes == 0).any():
            centres = _fill_one(line, sums, squares, centres, edges)
        else:
            centres = np.diff(sums[edges]) / sizes
    return centres


def nearest(numbers: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """The place of the nearest of some ascending values, the lower one where two are equally near;
    in the shape of the numbers."""
    return np.searchsorted((values[1:] + values[:-1]) / 2, numbers)


def _start(line: Floats, count: int) -> Floats:
    """`count` numbers apart by equal shares of the cube root of the density.

    Between knots with equally many numbers the density is 1 / gap, and its cube root over the gap
    adds up to gap ** (2/3): that holds for long tails, too.
    """
    knots = line[np.linspace(0, line.size - 1, min(line.size // 4 + 32, _KNOTS)).astype(np.int64)]
    share: Floats = np.concatenate([[0.0], np.cumsum(np.diff(knots) ** (2 / 3))])
    start: Floats = np.interp((np.arange(count) + 0.5) / count * share[-1], share, knots)
    return start


def _edges(line: Floats, centres: Floats) -> npt.NDArray[np.int64]:
    inner = np.searchsorted(line, (centres[1:] + centres[:-1]) / 2)
    return np.concatenate([[0], inner, [line.size]])


def _fill_one(
    line: Floats, sums: Floats, squares: Floats, centres: Floats, edges: npt.NDArray[np.int64]
) -> Floats:
    """Give the centre of an empty cluster to the one with the largest error, cut at its mean."""
    sizes = np.diff(edges)
    means = np.divide(np.diff(sums[edges]), sizes, out=centres.copy(), where=sizes > 0)
    errors = np.diff(squares[edges]) - sizes * means**2
    spread = line[np.maximum(edges[1:] - 1, 0)] > line[np.minimum(edges[:-1], line.size - 1)]
    worst = int(np.argmax(np.where(spread & (sizes > 1), errors, -np.inf)))
    low, high = edges[worst], edges[worst + 1]
    cut = low + int(np.searchsorted(line[low:high], means[worst], side="right"))
    cut = min(max(cut, low + 1), high - 1)
    halves = [(sums[cut] - sums[low]) / (cut - low), (sums[high] - sums[cut]) / (high - cut)]
    empty = int(np.flatnonzero(sizes == 0)[0])
    kept = np.delete(means, [empty, worst])
    filled: Floats = np.sort(np.concatenate([kept, halves]))
    return filled
