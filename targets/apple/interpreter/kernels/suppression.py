"""`non_maximum_suppression` (coremltools MIL ops: tensor_operation.py of iOS15 and iOS17).

Boxes are (x, y, width, height) around a centre. The best of the boxes that are left is selected,
and those that overlap with it by more than the threshold are dropped, until `max_boxes` are
selected or none is left. With several classes a box counts by its best score, or, with
`per_class_suppression`, is dropped only by boxes of the same best class.
    iOS15  boxes [n, B, 4], scores [n, B, K]; boxes of a lower score than the threshold are
           rejected; the fourth output counts what was selected
    iOS17  boxes [n, 4, B], scores [n, K, B]; no score threshold, no count
Behind the selected boxes come zeros, and the index -1, which Apple's converter from PyTorch relies
on. Without area there is no overlap.
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.apple.interpreter.kernels.base import Array, Inputs, Kernel, Node, Result, Run

_COUNTS = "score_threshold"


def _overlaps(box: Array, others: Array) -> Array:
    """Intersection over union of a box with each of the others, as corners."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1)
    union = np.prod(box[2:] - box[:2]) + areas - common
    shares: Array = np.divide(common, union, out=np.zeros_like(common), where=common > 0)
    return shares


def _selected(
    boxes: Array, scores: Array, threshold: np.float32, least: float, limit: int, per_class: bool
) -> list[int]:
    half = boxes[:, 2:] / 2
    corners = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    best, classes = scores.max(axis=1), scores.argmax(axis=1)
    left = best >= least
    chosen: list[int] = []
    for candidate in np.argsort(-best, kind="stable"):
        if len(chosen) == limit:
            break
        if not left[candidate]:
            continue
        chosen.append(int(candidate))
        dropped = _overlaps(corners[candidate], corners) > threshold
        if per_class:
            dropped &= classes == classes[candidate]
        left &= ~dropped
    return chosen


def _non_maximum_suppression(node: Node) -> Run:
    threshold, limit = node.number("iou_threshold", 0), node.integer("max_boxes", 0)
    counts, per_class = node.has(_COUNTS), node.flag("per_class_suppression")
    least = float(node.number(_COUNTS, 0)) if counts else -np.inf

    def run(inputs: Inputs) -> Result:
        boxes, scores = inputs["boxes"], inputs["scores"]
        if not counts:
            boxes, scores = boxes.transpose(0, 2, 1), scores.transpose(0, 2, 1)
        found = [
            _selected(b, s, threshold, least, limit, per_class)
            for b, s in zip(boxes, scores, strict=True)
        ]
        batch = len(found)
        indices = np.full((batch, limit), -1, np.int32)
        kept = [np.zeros((batch, limit, part.shape[2]), np.float32) for part in (boxes, scores)]
        for row, chosen in enumerate(found):
            indices[row, : len(chosen)] = chosen
            for whole, part in zip(kept, (boxes, scores), strict=True):
                whole[row, : len(chosen)] = part[row, chosen]
        if not counts:
            return [kept[0].transpose(0, 2, 1), kept[1].transpose(0, 2, 1), indices]
        return [*kept, indices, np.array([len(chosen) for chosen in found], np.int32)]

    return run


KERNELS: dict[str, Kernel] = {"non_maximum_suppression": _non_maximum_suppression}
