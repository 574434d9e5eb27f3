"""Properties of the resampled intervals."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.targets.validation.bootstrap import mean_interval, statistic_interval

VALUES = st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=60)


@settings(max_examples=30, deadline=None)
@given(VALUES)
def test_interval_is_ordered_within_the_values_and_repeatable(values: list[float]) -> None:
    array = np.asarray(values, np.float64)
    interval = mean_interval(array, resamples=300)
    assert interval is not None
    low, high = interval
    assert array.min() - 1e-12 <= low <= high <= array.max() + 1e-12
    assert mean_interval(array, resamples=300) == interval


@settings(max_examples=20, deadline=None)
@given(VALUES, st.floats(-5, 5))
def test_interval_moves_with_the_values(values: list[float], shift: float) -> None:
    array = np.asarray(values, np.float64)
    first, moved = (mean_interval(a, resamples=300) for a in (array, array + shift))
    assert first is not None and moved is not None
    np.testing.assert_allclose(moved, np.add(first, shift), atol=1e-9)


def test_width_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(1).standard_normal(400)
    interval = mean_interval(values)
    assert interval is not None
    half = 1.96 * values.std() / np.sqrt(len(values))
    np.testing.assert_allclose(interval, [values.mean() - half, values.mean() + half], atol=0.012)


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    hits = 0
    for _ in range(200):
        interval = mean_interval(generator.binomial(1, 0.3, 100).astype(float), resamples=400)
        assert interval is not None
        hits += interval[0] <= 0.3 <= interval[1]
    assert 0.90 <= hits / 200 <= 0.985


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).standard_normal(50)
    whole = mean_interval(values)
    monkeypatch.setattr("edgewise.targets.validation.bootstrap._CHUNK", 170)
    assert mean_interval(values) == whole


def test_constant_and_too_few_values() -> None:
    assert mean_interval(np.full(10, 0.25)) == (0.25, 0.25)
    assert mean_interval(np.array([1.0])) is None
    assert statistic_interval(lambda chosen: 0.0, 1) is None


def test_any_statistic_agrees_with_the_mean() -> None:
    values = np.random.default_rng(4).standard_normal(80)
    general = statistic_interval(lambda chosen: float(values[chosen].mean()), 80)
    special = mean_interval(values)
    assert general is not None and special is not None
    np.testing.assert_allclose(general, special, atol=0.06)


def test_slow_statistic_has_no_interval() -> None:
    seconds = count()
    assert statistic_interval(lambda c: 0.0, 9, clock=lambda: float(next(seconds))) is None


def test_interval_from_fewer_resamples_when_time_runs_out() -> None:
    seconds = count(step=0.07)  # 285 resamples in 20 s
    calls = []

    def statistic(chosen: np.ndarray) -> float:
        calls.append(len(chosen))
        return 1.0

    assert statistic_interval(statistic, 9, clock=lambda: float(next(seconds))) == (1.0, 1.0)
    assert 280 < len(calls) < 290
