"""`non_maximum_suppression` against the definition written out box by box."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import ct


def _overlap(a: Any, b: Any) -> float:
    """Of boxes (x, y, width, height) around a centre."""
    sides = [
        max(
            0.0,
            min(a[k] + a[k + 2] / 2, b[k] + b[k + 2] / 2)
            - max(a[k] - a[k + 2] / 2, b[k] - b[k + 2] / 2),
        )
        for k in (0, 1)
    ]
    common = sides[0] * sides[1]
    union = a[2] * a[3] + b[2] * b[3] - common
    return common / union if common else 0.0


def _expected(boxes: Any, scores: Any, threshold: float, least: float, most: int) -> list[int]:
    chosen: list[int] = []
    for index in np.argsort(-scores):
        apart = all(_overlap(boxes[index], boxes[other]) <= threshold for other in chosen)
        if apart and scores[index] >= least and len(chosen) < most:
            chosen.append(int(index))
    return chosen


def _case(count: int = 30) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0.1, 1, (2, count, 4)).astype(np.float32)
    boxes[..., 2:] *= 0.4
    return boxes, rng.permutation(2 * count).reshape(2, count, 1).astype(np.float32)


@pytest.mark.parametrize("most", [1, 4, 30])
@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.6, 1.0])
def test_scores_and_counts(run_mil: Any, threshold: float, most: int) -> None:
    boxes, scores = _case()
    kept, kept_scores, indices, counts = run_mil(
        lambda b, s: mb.non_maximum_suppression(
            boxes=b,
            scores=s,
            iou_threshold=np.float32(threshold),
            score_threshold=np.float32(20),
            max_boxes=most,
        ),
        {"b": boxes, "s": scores},
        target=ct.target.iOS16,
    )
    for row in range(2):
        expected = _expected(boxes[row], scores[row, :, 0], threshold, 20, most)
        count = len(expected)
        assert counts[row] == count
        assert indices[row].tolist() == expected + [-1] * (most - count)
        assert np.array_equal(kept[row, :count], boxes[row, expected])
        assert np.array_equal(kept_scores[row, :count], scores[row, expected])


def test_the_form_of_ios17(run_mil: Any) -> None:
    boxes, scores = _case()
    kept, kept_scores, indices = run_mil(
        lambda b, s: mb.non_maximum_suppression(
            boxes=b, scores=s, iou_threshold=np.float32(0.1), max_boxes=20
        ),
        {"b": boxes.transpose(0, 2, 1).copy(), "s": scores.transpose(0, 2, 1).copy()},
    )
    for row in range(2):
        expected = _expected(boxes[row], scores[row, :, 0], 0.1, -np.inf, 20)
        count = len(expected)
        assert indices[row].tolist() == expected + [-1] * (20 - count)
        assert np.array_equal(kept[row, :, :count], boxes[row, expected].T)
        assert np.array_equal(kept_scores[row, 0, :count], scores[row, expected, 0])


def test_classes(apply_kernel: Any) -> None:
    """The same box twice: as one class it is selected once, as two classes twice."""
    boxes = np.array([[[0, 0, 1, 1], [0, 0, 1, 1], [5, 5, 1, 1]]], np.float32)
    scores = np.array([[[0.9, 0.1], [0.2, 0.8], [0.1, 0.3]]], np.float32)
    arguments = {
        "boxes": boxes,
        "scores": scores,
        "iou_threshold": np.float32(0.5),
        "score_threshold": np.float32(0),
        "max_boxes": 3,
    }
    _, _, indices, counts = apply_kernel("non_maximum_suppression", **arguments)
    assert (indices[0, :2].tolist(), counts.tolist()) == ([0, 2], [2])
    _, _, indices, counts = apply_kernel(
        "non_maximum_suppression", per_class_suppression=True, **arguments
    )
    assert (indices[0].tolist(), counts.tolist()) == ([0, 1, 2], [3])
