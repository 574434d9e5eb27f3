"""Mean average precision of boxes, as the COCO evaluation defines it.

Detections of a class are taken in the order of their score; one is right when its best unclaimed
box of that class in the same picture overlaps by at least the threshold (intersection over union).
Average precision is the mean of the interpolated precision at the recalls 0, 0.01, ... 1; the
metric is its mean over the classes that occur and over the thresholds (cocodataset.org, detection
evaluation; interpolation after Everingham et al., The PASCAL VOC Challenge, 2010).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewise.errors import DataError, UsageError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

#: detections of one picture that count, best first
MAX_DETECTIONS = 100
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True, eq=False)
class DetectionRecord:
    """One picture: its detections best first, and its number of true boxes by class."""

    scores: Floats  # (n,)
    classes: npt.NDArray[np.int64]  # (n,)
    right: npt.NDArray[np.bool_]  # (thresholds, n)
    truths: Mapping[int, int]


class MeanAveragePrecision:
    """`map50` (threshold 0.5) and `map` (0.50, 0.55, ... 0.95).

    Outputs, for one picture, batch axis optional: either one array of decoded detections (n, 6)
    with rows `x1, y1, x2, y2, score, class`, or three arrays whose names contain `boxes` (n, 4),
    `scores` (n,) and `classes` or `labels` (n,). Rows with a score of 0 or less are padding.
    Label: boxes (m, 5) with rows `x1, y1, x2, y2, class` in the same coordinates; rows with a
    negative class are padding.
    """

    higher_is_better = True
    per_sample = False

    def __init__(self, name: str, thresholds: Sequence[float]) -> None:
        self.name = name
        self._thresholds = np.asarray(thresholds, dtype=np.float64)

    def observe(self, outputs: Mapping[str, Array], label: Any) -> DetectionRecord:
        """Raises UsageError for outputs of another form, DataError for another form of label."""
        found = _detections(outputs, self.name)
        found = found[found[:, 4] > 0]
        found = found[np.argsort(-found[:, 4], kind="stable")][:MAX_DETECTIONS]
        truth = _truth(label)
        classes, truth_classes = found[:, 5].astype(np.int64), truth[:, 4].astype(np.int64)
        overlap = intersection_over_union(found[:, :4], truth[:, :4])
        overlap[classes[:, None] != truth_classes[None, :]] = 0
        right = np.stack([_claim(overlap, threshold) for threshold in self._thresholds])
        values, counts = np.unique(truth_classes, return_counts=True)
        truths = {int(v): int(c) for v, c in zip(values, counts, strict=True)}
        return DetectionRecord(found[:, 4], classes, right, truths)

    def compute(self, records: Sequence[DetectionRecord]) -> float:
        """0 where no picture has a true box."""
        totals: dict[int, int] = {}
        for record in records:
            for index, count in record.truths.items():
                totals[index] = totals.get(index, 0) + count
        if not totals:
            return 0.0
        scores = np.concatenate([r.scores for r in records])
        classes = np.concatenate([r.classes for r in records])
        right = np.concatenate([r.right for r in records], axis=1)
        order = np.argsort(-scores, kind="stable")
        classes, right = classes[order], right[:, order]
        return float(
            np.mean([_average_precision(right[:, classes == c], n) for c, n in totals.items()])
        )


def intersection_over_union(first: Floats, second: Floats) -> Floats:
    """Overlap of every box of `first` (n, 4) with every one of `second` (m, 4): (n, m), 0..1.

    Boxes are corners `x1, y1, x2, y2`; an empty box overlaps nothing.
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    union = _areas(first)[:, None] + _areas(second)[None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def _areas(boxes: Floats) -> Floats:
    return np.asarray(np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1))


def _claim(overlap: Floats, threshold: float) -> npt.NDArray[np.bool_]:
    """Which detections, best first, claim a true box that no better one has claimed."""
    free = overlap.copy()
    right = np.zeros(len(overlap), dtype=np.bool_)
    if not overlap.shape[1]:
        return right
    for index in range(len(free)):
        best = int(np.argmax(free[index]))
        if free[index, best] >= threshold:
            right[index] = True
            free[:, best] = 0
    return right


def _average_precision(right: npt.NDArray[np.bool_], truths: int) -> float:
    """Mean over the thresholds; `right` is (thresholds, detections), best detections first."""
    if not right.shape[1]:
        return 0.0
    hits = np.cumsum(right, axis=1)
    precision = hits / np.arange(1, right.shape[1] + 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    total = 0.0
    for row, best in zip(hits / truths, envelope, strict=True):
        reached = np.searchsorted(row, _RECALLS, side="left")
        total += float(np.append(best, 0.0)[reached].mean())
    return total / len(right)


def _detections(outputs: Mapping[str, Array], metric: str) -> Floats:
    boxes, scores = _named(outputs, "boxes"), _named(outputs, "scores")
    classes = _named(outputs, "classes", "labels")
    if boxes is not None and scores is not None and classes is not None:
        parts = [boxes.reshape(-1, 4), scores.reshape(-1, 1), classes.reshape(-1, 1)]
        if len({len(part) for part in parts}) == 1:
            return np.concatenate(parts, axis=1).astype(np.float64)
    elif len(outputs) == 1 and (only := next(iter(outputs.values()))).shape[-1:] == (6,):
        return np.asarray(only.reshape(-1, 6), dtype=np.float64)
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())
    raise UsageError(
        f"{metric} needs decoded boxes",
        why=f"the outputs are {shapes}",
        remedy="Give (n, 6) rows x1 y1 x2 y2 score class, or boxes, scores and classes; else use "
        "package.module:function.",
    )


def _named(outputs: Mapping[str, Array], *words: str) -> Array | None:
    return next((a for n, a in outputs.items() if any(w in n.lower() for w in words)), None)


def _truth(label: Any) -> Floats:
    try:
        boxes = np.asarray(label, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("the label is not an array of boxes") from error
    if boxes.size % 5 or (boxes.size and boxes.shape[-1] != 5):
        raise DataError(
            "the label is not an array of boxes",
            why=f"its shape is {list(boxes.shape)}",
            remedy="Give (m, 5) rows x1 y1 x2 y2 class.",
        )
    boxes = boxes.reshape(-1, 5)
    return boxes[boxes[:, 4] >= 0]
