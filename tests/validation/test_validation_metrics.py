"""Metrics against values worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import DataError, UsageError
from edgewise.targets.validation.metrics import METRICS, Spearman, get_metric


def score(name: str, outputs: list[Any], labels: list[Any]) -> float:
    metric = get_metric(name)
    pairs = zip(outputs, labels, strict=True)
    return metric.compute([metric.observe({"y": np.asarray(o)}, label) for o, label in pairs])


def test_top1() -> None:
    outputs = [[[0.1, 0.9, 0.0]], [[0.5, 0.4, 0.1]], [[0.0, 0.1, 0.9]]]
    assert score("top1", outputs, [1, 1, np.int64(2)]) == pytest.approx(2 / 3)


def test_top5() -> None:
    falling = np.arange(10, 0, -1, dtype=np.float32)
    assert score("top5", [falling] * 4, [0, 4, 5, 9]) == 0.5


def test_equal_scores_go_to_the_lower_index() -> None:
    assert score("top1", [[1.0, 1.0], [1.0, 1.0]], [0, 1]) == 0.5
    assert score("top5", [[0.0] * 8], [5]) == 0.0


def test_scores_may_have_unit_axes() -> None:
    assert score("top1", [np.eye(1, 6, 3).reshape(1, 6, 1, 1)], [3.0]) == 1.0


@given(st.lists(st.floats(-9, 9, width=16), min_size=2, max_size=12), st.integers(0, 11))
def test_top1_is_argmax(scores: list[float], label: int) -> None:
    label %= len(scores)
    assert score("top1", [scores], [label]) == float(np.argmax(scores) == label)


@pytest.mark.parametrize(
    ("label", "message"),
    [(3, "class 3 does not exist"), (-1, "class -1"), (0.5, "not a class index"), ("cat", "number"),
     ([0, 1], "not a class index"), (float("nan"), "NaN")],
)  # fmt: skip
def test_wrong_labels(label: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        get_metric("top1").observe({"y": np.zeros((1, 3))}, label)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3, 4, 4), ()])
def test_outputs_without_class_scores(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="one score per class"):
        get_metric("top1").observe({"y": np.zeros(shape)}, 0)


def test_mse() -> None:
    assert score("mse", [[[1.0, 2.0]], [[0.0, 0.0]]], [[1.0, 4.0], [1.0, 0.0]]) == 1.25
    assert not get_metric("mse").higher_is_better
    with pytest.raises(DataError, match="does not fit"):
        score("mse", [[1.0, 2.0]], [1.0])


def test_spearman_without_ties() -> None:
    # d = (0, 1, -1, 0), so rho = 1 - 6 * 2 / (4 * 15)
    assert score("spearman", [1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(0.8)


def test_spearman_with_ties() -> None:
    # ranks (1, 2.5, 2.5, 4) and (1, 2, 3, 4): covariance 4.5, variances 4.5 and 5
    expected = 4.5 / np.sqrt(4.5 * 5)
    assert score("spearman", [1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(expected)


@given(st.lists(st.integers(-99, 99), min_size=2, max_size=20, unique=True))
def test_spearman_sees_only_order(values: list[int]) -> None:
    metric = Spearman()
    assert metric.compute([(v**3, v) for v in values]) == pytest.approx(1)
    assert metric.compute([(-v, v) for v in values]) == pytest.approx(-1)


def test_spearman_of_a_constant_is_zero() -> None:
    assert score("spearman", [1, 1, 1], [1, 2, 3]) == 0
    with pytest.raises(UsageError, match="one number per example"):
        score("spearman", [[1, 2]], [1])


def test_unknown_metric_lists_the_known() -> None:
    with pytest.raises(UsageError, match="unknown metric 'top2'.+" + ", ".join(METRICS)):
        get_metric("top2")


@pytest.fixture
def user_metric(tmp_path: Path) -> Path:
    (tmp_path / "my_edgewise_metric.py").write_text(
        "def share(outputs, labels):\n"
        "    assert isinstance(outputs, list) and isinstance(labels, list)\n"
        "    return sum(o['y'].argmax() == l for o, l in zip(outputs, labels)) / len(labels)\n"
        "def fails(outputs, labels):\n"
        "    raise KeyError('boxes')\n"
        "def nan(outputs, labels):\n"
        "    return float('nan')\n"
        "THREE = 3\n"
    )
    return tmp_path


def test_function_of_the_user(user_metric: Path) -> None:
    metric = get_metric("my_edgewise_metric.py:share", base=user_metric)
    outputs = [{"y": np.array([[0.0, 1.0]])}, {"y": np.array([[1.0, 0.0]])}]
    assert metric.compute([metric.observe(o, 1) for o in outputs]) == 0.5
    assert metric.higher_is_better


@pytest.mark.parametrize(
    ("name", "message"), [("fails", "the metric failed.+boxes"), ("nan", "finite")]
)
def test_failing_function(name: str, message: str, user_metric: Path) -> None:
    metric = get_metric(f"my_edgewise_metric.py:{name}", base=user_metric)
    with pytest.raises(UsageError, match=message) as caught:
        metric.compute([({}, 0)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["THREE", "absent"])
def test_reference_without_a_function(name: str, user_metric: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a function|has no"):
        get_metric(f"my_edgewise_metric.py:{name}", base=user_metric)
