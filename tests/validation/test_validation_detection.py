"""Mean average precision against cases worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewise.errors import DataError, UsageError
from edgewise.targets.validation.detection import intersection_over_union
from edgewise.targets.validation.metrics import get_metric

SQUARE = [0, 0, 10, 10]
FAR = [50, 50, 60, 60]


def average_precision(pictures: list[tuple[Any, Any]], name: str = "map50") -> float:
    metric = get_metric(name)
    records = [
        metric.observe({"detections": np.asarray(found, np.float32).reshape(1, -1, 6)}, truth)
        for found, truth in pictures
    ]
    return metric.compute(records)


def test_overlap() -> None:
    first = np.array([[0, 0, 2, 2], [0, 0, 0, 5]], float)
    second = np.array([[1, 1, 3, 3], [0, 0, 2, 2], [2, 2, 4, 4]], float)
    np.testing.assert_allclose(intersection_over_union(first, second), [[1 / 7, 1, 0], [0, 0, 0]])


def test_perfect_detection() -> None:
    truth = [[*SQUARE, 2], [*FAR, 2]]
    assert average_precision([([[*SQUARE, 0.9, 2], [*FAR, 0.8, 2]], truth)]) == pytest.approx(1)
    assert average_precision([([[*SQUARE, 0.9, 2], [*FAR, 0.8, 2]], truth)], "map") == 1


def test_one_of_two_found() -> None:
    # Precision 1 up to recall 0.5: 51 of the 101 recall points.
    truth = [[*SQUARE, 0], [*FAR, 0]]
    assert average_precision([([[*SQUARE, 0.9, 0]], truth)]) == pytest.approx(51 / 101)


def test_wrong_one_first() -> None:
    # Order by score: wrong, right. Precision is 1/2 at every recall.
    found = [[*SQUARE, 0.4, 0], [*FAR, 0.9, 0]]
    assert average_precision([(found, [[*SQUARE, 0]])]) == pytest.approx(0.5)


def test_second_claim_on_a_box_is_wrong() -> None:
    # Right, wrong, right: precision 1 to recall 0.5, then 2/3 (50 points).
    found = [[*SQUARE, 0.9, 0], [*SQUARE, 0.8, 0], [*FAR, 0.7, 0]]
    expected = (51 + 50 * 2 / 3) / 101
    assert average_precision([(found, [[*SQUARE, 0], [*FAR, 0]])]) == pytest.approx(expected)


def test_classes_count_equally_and_do_not_mix() -> None:
    found = [[*SQUARE, 0.9, 0], [*FAR, 0.8, 0]]
    assert average_precision([(found, [[*SQUARE, 0], [*FAR, 1]])]) == pytest.approx(0.5)


def test_threshold_grid() -> None:
    # Overlap 8/12 = 0.667: right at 0.50, 0.55, 0.60, 0.65 of the ten thresholds.
    pictures = [([[2, 0, 12, 10, 0.9, 0]], [[*SQUARE, 0]])]
    assert average_precision(pictures) == pytest.approx(1)
    assert average_precision(pictures, "map") == pytest.approx(0.4)


def test_scores_are_ranked_over_all_pictures() -> None:
    pictures = [([[*FAR, 0.9, 0]], [[*SQUARE, 0]]), ([[*SQUARE, 0.8, 0]], [[*SQUARE, 0]])]
    # Wrong at 0.9, right at 0.8; recall reaches 1/2 with precision 1/2.
    assert average_precision(pictures) == pytest.approx(51 / 101 / 2)


def test_padding_and_empty_pictures() -> None:
    found = [[*SQUARE, 0.9, 0], [0, 0, 0, 0, 0, 0]]
    truth = [[*SQUARE, 0], [0, 0, 0, 0, -1]]
    assert average_precision([(found, truth), ([], np.zeros((0, 5)))]) == pytest.approx(1)
    assert average_precision([([[*SQUARE, 0.9, 0]], np.zeros((0, 5)))]) == 0
    assert average_precision([([], truth)]) == 0


def test_three_outputs() -> None:
    metric = get_metric("map50")
    outputs = {
        "det_classes": np.array([[1.0]]), "det_boxes": np.array([[SQUARE]]),
        "det_scores": np.array([[0.7]]),
    }  # fmt: skip
    assert metric.compute([metric.observe(outputs, [[*SQUARE, 1]])]) == pytest.approx(1)


def test_only_a_hundred_detections_count() -> None:
    crowd = [[*FAR, 0.9, 0]] * 100 + [[*SQUARE, 0.1, 0]]
    assert average_precision([(crowd, [[*SQUARE, 0]])]) == 0


def test_other_forms_are_refused() -> None:
    metric = get_metric("map50")
    with pytest.raises(UsageError, match=r"decoded boxes.+y \[1, 85, 22, 22\]"):
        metric.observe({"y": np.zeros((1, 85, 22, 22))}, [[*SQUARE, 0]])
    for label in ([SQUARE], 3, "cat"):
        with pytest.raises(DataError, match="not an array of boxes"):
            metric.observe({"y": np.zeros((0, 6))}, label)
