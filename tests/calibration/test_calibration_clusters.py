"""k-means on a line against the exact answer, which dynamic programming gives for few numbers."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.calibration.clusters import cluster, nearest

RNG = np.random.default_rng(0)
NUMBERS = {
    "normal": RNG.normal(size=400),
    "laplace": RNG.laplace(size=400),
    "two hills": np.concatenate([RNG.normal(size=200), 50 + RNG.normal(size=200)]),
    "one far away": np.concatenate([RNG.normal(size=399), [1000.0]]),
    "long tails": RNG.standard_t(2, 400),
    "mostly zero": np.where(RNG.random(400) < 0.7, 0.0, RNG.normal(size=400)),
}


def _error(numbers, values):
    return float(((numbers - values[nearest(numbers, values)]) ** 2).sum())


def _least_error(numbers, count):
    """Least sum of squares of `count` runs of the sorted numbers."""
    line = np.sort(numbers)
    sums = np.concatenate([[0.0], np.cumsum(line)])
    squares = np.concatenate([[0.0], np.cumsum(line * line)])
    ends = np.arange(line.size + 1)
    best = np.where(ends == 0, 0.0, np.inf)
    for _ in range(count):
        longer = np.full(best.size, np.inf)
        for end in ends[1:]:
            begin = np.arange(end)
            total = sums[end] - sums[begin]
            run = squares[end] - squares[begin] - total**2 / (end - begin)
            longer[end] = (best[:end] + run).min()
        longer[0] = 0.0
        best = longer
    return float(best[-1])


@pytest.mark.parametrize("count", [4, 16, 64])
@pytest.mark.parametrize("name", NUMBERS)
def test_error_is_close_to_the_least(name, count):
    values = cluster(NUMBERS[name], count)
    assert values.size == count and (np.diff(values) > 0).all()
    assert _error(NUMBERS[name], values) < 1.4 * _least_error(NUMBERS[name], count)


def test_many_numbers_reach_what_theory_says():
    """256 levels of a normal distribution: 6.02 * 8 - 4.35 dB (Panter and Dite)."""
    numbers = RNG.normal(size=500_000)
    noise = _error(numbers, cluster(numbers, 256)) / numbers.size
    assert -10 * np.log10(noise) == pytest.approx(6.02 * 8 - 4.35, abs=0.4)


def test_few_different_numbers_are_kept():
    numbers = np.repeat(np.array([3.0, -1.5, 0.25], np.float32), 7).reshape(3, 7)
    np.testing.assert_array_equal(cluster(numbers, 16), [-1.5, 0.25, 3.0])
    np.testing.assert_array_equal(cluster(np.zeros(5), 16), [0.0])


def test_order_does_not_matter():
    numbers = NUMBERS["normal"]
    np.testing.assert_array_equal(cluster(numbers, 16), cluster(RNG.permutation(numbers), 16))


def test_nearest_takes_the_lower_of_two():
    values = np.array([0.0, 1.0, 3.0])
    np.testing.assert_array_equal(nearest(np.array([-1, 0.5, 0.6, 2, 9]), values), [0, 0, 1, 1, 2])
