"""Budgets decide the exit code, so every limit is tried on both sides."""

from __future__ import annotations

import math

import pytest

from edgewise.errors import UsageError
from edgewise.targets.validation.budget import Budget, check_budget
from edgewise.targets.validation.results import Accuracy, BudgetResult, Latency

ACCURACY = Accuracy("top1", 0.994, 0.989, 0.994 - 0.989, (0.0, 0.01), 300)
LATENCY = Latency("local", 1, 2.0, 3.0, 4.0, 5.0, 2.5)


def check(
    budget: Budget, accuracy: Accuracy = ACCURACY, latency: Latency = LATENCY
) -> tuple[BudgetResult, ...]:
    return check_budget(budget, accuracy=accuracy, latency=latency, size_bytes=3_500_000)


@pytest.mark.parametrize(
    ("name", "value", "kept", "missed"),
    [
        ("accuracy_drop", 0.005, 0.005, 0.0049),
        ("min_accuracy", 0.989, 0.989, 0.99),
        ("max_latency_ms", 2.0, 2.0, 1.99),
        ("min_speedup", 2.5, 2.5, 2.51),
        ("max_size_mb", 3.5, 3.5, 3.49),
    ],
)
def test_each_limit(name: str, value: float, kept: float, missed: float) -> None:
    for limit, ok in ((kept, True), (missed, False)):
        (result,) = check(Budget(**{name: limit}))
        assert result == BudgetResult(name, limit, pytest.approx(value), ok)


def test_gain_keeps_a_zero_drop() -> None:
    gained = Accuracy("top1", 0.9, 0.91, -0.01, None, 100)
    assert check(Budget(accuracy_drop=0.0), gained)[0].ok


def test_no_limits_no_results() -> None:
    assert check(Budget()) == ()


def test_order_is_that_of_the_fields() -> None:
    names = [r.name for r in check(Budget(max_size_mb=1, accuracy_drop=1, min_speedup=1))]
    assert names == ["accuracy_drop", "min_speedup", "max_size_mb"]


def test_unmeasured_value_is_not_ok() -> None:
    accuracy = Accuracy(None, None, None, None, None, 0, reason="no evaluation data")
    latency = Latency("mac", 1, None, None, None, None, None, reason="no Mac")
    results = check(Budget(0.01, 0.9, 10, 1, 10), accuracy, latency)
    assert [(r.ok, r.reason) for r in results] == [
        (False, "no evaluation data"), (False, "no evaluation data"),
        (False, "no Mac"), (False, "no Mac"), (True, None),
    ]  # fmt: skip


def test_zero_is_a_limit() -> None:
    assert not check(Budget(max_latency_ms=0.0))[0].ok


def test_nan_is_not_a_limit() -> None:
    with pytest.raises(UsageError, match="min_accuracy"):
        Budget(min_accuracy=math.nan)
