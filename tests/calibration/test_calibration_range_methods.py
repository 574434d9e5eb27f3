"""Every method of choosing ranges against its formula, computed the long way."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.calibration import range_search
from edgewise.calibration.parameters import affine_parameters, limits
from edgewise.calibration.ranges import METHODS, Range
from edgewise.calibration.scheme import NumberFormat
from edgewise.calibration.statistics import TensorStatistics

ASYMMETRIC = NumberFormat("int8", symmetric=False)
SYMMETRIC = NumberFormat("int8", symmetric=True)
POSITIVE = NumberFormat("int8", symmetric=True, whole_range_if_positive=True)
WIDE = NumberFormat("int16", symmetric=True)

values = arrays.arrays(np.float32, st.integers(1, 300), elements=st.floats(-1e4, 1e4, width=32))
random = np.random.default_rng(0)
NORMAL = random.normal(0, 1, 16_000)
DATA = {
    "normal": NORMAL,
    "relu": np.maximum(NORMAL, 0),
    "laplace": random.laplace(0, 1, 16_000),
    "shifted": NORMAL + 3,
    "gelu": NORMAL / (1 + np.exp(-1.7 * NORMAL)),
    "outlier": np.append(NORMAL, 12.0),
}


def statistics_of(*parts):
    total = TensorStatistics.of(np.float32(parts[0]))
    for part in parts[1:]:
        total = total + TensorStatistics.of(np.float32(part))
    return total


def squared_error(data, real, number):
    found, (qmin, qmax) = affine_parameters(real, number), limits(number)
    steps = np.clip(np.rint(data / found.scale) + found.zero_point, qmin, qmax)
    return float(np.mean(((steps - found.zero_point) * found.scale - data) ** 2))


def least_error(data, number):
    """Of ranges that reach to parts of the extremes."""
    parts = np.linspace(0.05, 1, 40)
    low, high = min(data.min(), 0.0), max(data.max(), 0.0)
    tried = [(a, b) for a in parts for b in parts] if low < 0 else [(1.0, b) for b in parts]
    return min(squared_error(data, Range(low * a, high * b), number) for a, b in tried)


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("number", [ASYMMETRIC, SYMMETRIC, POSITIVE, WIDE])
@settings(max_examples=20)
@given(array=values)
def test_a_range_holds_zero_and_stays_within_the_extremes(method, number, array):
    found = METHODS[method](TensorStatistics.of(array), 99.99, number)
    assert min(float(array.min()), 0.0) <= found.low <= 0.0
    assert 0.0 <= found.high <= max(float(array.max()), 0.0)


def test_moving_average_is_the_mean_of_the_samples_extremes():
    parts = [random.normal(shift, 1, 100).astype(np.float32) for shift in (0, 3, -2, 1)]
    found = METHODS["moving_average"](statistics_of(*parts), 99.99)
    wanted = [np.float64([end(part) for part in parts]).mean() for end in (np.min, np.max)]
    assert (found.low, found.high) == pytest.approx(wanted, rel=1e-15)


@pytest.mark.parametrize("number", [ASYMMETRIC, SYMMETRIC, POSITIVE], ids=["asym", "sym", "pos"])
@pytest.mark.parametrize("name", sorted(DATA))
def test_mse_is_near_the_best_range_there_is(name, number):
    data = DATA[name].astype(np.float32)
    found = METHODS["mse"](statistics_of(data), 99.99, number)
    assert squared_error(data, found, number) <= 1.15 * least_error(data, number)


def test_mse_does_not_forget_a_value_that_was_not_sampled():
    data = random.normal(0, 1, 200_000).astype(np.float32)
    data[1] = 60.0  # strides leave it out
    found = METHODS["mse"](statistics_of(data), 99.99, ASYMMETRIC)
    assert squared_error(data, found, ASYMMETRIC) <= 1.3 * least_error(data, ASYMMETRIC)


def test_wide_integers_take_all_values():
    data = DATA["outlier"]
    found = METHODS["entropy"](statistics_of(data), 99.99, WIDE)
    assert found == METHODS["minmax"](statistics_of(data), 99.99)
    assert METHODS["mse"](statistics_of(data), 99.99, WIDE).high > 11.9


def divergence(statistics, low, high, cells):
    """KL(P || Q) of the range between two bin edges, bin by bin."""
    counts = statistics.histogram.counts.astype(float)
    zero = len(counts) // 2
    counts[zero] = min(counts[zero], counts[zero + 1])
    inside = counts[low:high].copy()
    cell_of = np.searchsorted(
        np.arange(1, cells + 1) * (high - low) // cells, np.arange(high - low), side="right"
    )
    merged = np.zeros_like(inside)
    for cell in range(cells):
        own = (cell_of == cell) & (inside > 0)
        merged[own] = inside[own].mean() if own.any() else 0.0
    reference = inside.copy()
    reference[0] += counts[:low].sum()
    reference[-1] += counts[high:].sum()
    p, q = reference / reference.sum(), merged / merged.sum()
    own = p > 0
    return float((p[own] * np.log(p[own] / q[own])).sum())


@pytest.mark.parametrize("name", ["normal", "relu", "laplace"])
def test_divergence_is_that_of_the_distributions(name):
    statistics = statistics_of(DATA[name])
    cost = range_search._Divergence.of(statistics, 256)
    # an edge bin that is empty has no Q of its own: ranges here end at filled ones
    filled = np.flatnonzero(statistics.histogram.counts)
    lows = filled[np.searchsorted(filled, [0, 1448, 1648])]
    highs = filled[np.searchsorted(filled, [4095, 2748, 2548]) - 1] + 1
    wanted = [divergence(statistics, a, b, 256) for a, b in zip(lows, highs, strict=True)]
    assert np.allclose(cost(lows, highs), wanted, rtol=1e-9)


def test_entropy_cuts_an_outlier_that_tells_little():
    data = np.append(DATA["normal"], 60.0)
    for number in (ASYMMETRIC, SYMMETRIC):
        assert METHODS["entropy"](statistics_of(data), 99.99, number).high < 15.0


def test_a_symmetric_format_is_searched_on_both_sides_at_once():
    found = METHODS["mse"](statistics_of(DATA["laplace"]), 99.99, SYMMETRIC)
    assert found.low == pytest.approx(-found.high)
    shifted = METHODS["mse"](statistics_of(DATA["shifted"]), 99.99, ASYMMETRIC)
    assert -shifted.low < shifted.high / 2
