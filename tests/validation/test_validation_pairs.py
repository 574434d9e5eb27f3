"""Rank correlation of pairs whose two outputs are vectors."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.data.source import PairHalf
from edgewise.errors import UsageError
from edgewise.targets.validation.accuracy import drop_interval
from edgewise.targets.validation.metrics import Spearman, examples_of, get_metric

ANGLES = [0.1, 1.5, 0.7, 1.0]


def records(metric: Spearman, scores: list[float]) -> list:
    found = []
    for pair, (angle, score) in enumerate(zip(ANGLES, scores, strict=True)):
        for direction, length in ((0.0, 2.0), (angle, 3.0)):
            vector = length * np.array([[np.cos(direction), np.sin(direction)]], np.float32)
            found.append(metric.observe({"embedding": vector}, PairHalf(pair, score)))
    return found


def test_the_cosine_of_both_halves_is_ranked() -> None:
    metric = Spearman()
    joined = metric.joined(records(metric, [5, 1, 3, 2]))
    np.testing.assert_allclose([cosine for cosine, _ in joined], np.cos(ANGLES), atol=1e-6)
    assert metric.compute(records(metric, [5, 1, 3, 2])) == pytest.approx(1)
    assert metric.compute(records(metric, [1, 5, 2, 3])) == pytest.approx(-1)


def test_a_bootstrap_draws_pairs_not_halves() -> None:
    metric = Spearman()
    found = records(metric, [5, 1, 3, 2])
    assert len(examples_of(metric, found)) == len(ANGLES)
    chosen = examples_of(metric, found)
    assert drop_interval(metric, chosen, chosen) == (0, 0)


def test_half_a_pair_is_left_out() -> None:
    metric = Spearman()
    assert len(metric.joined(records(metric, [5, 1, 3, 2])[:-1])) == len(ANGLES) - 1


def test_other_metrics_say_which_one_fits() -> None:
    with pytest.raises(UsageError, match=r"pairs of texts.*--metric spearman"):
        get_metric("top1").observe({"y": np.zeros((1, 3))}, PairHalf(0, 1.0))
