"""NonMaxSuppression: one MIL `non_maximum_suppression` over every class of every picture.

The classes become pictures of their own, with a single score for each box, so that each gives up to
`max_output_boxes_per_class` indices, best score first, as in ONNX.
  1. MIL takes boxes as centre and size. Corners, which ONNX allows in any order, are converted.
  2. ONNX selects scores above the threshold, MIL (before iOS 17) from the threshold on: the next
     larger float32 makes both the same. From iOS 17 on MIL has no threshold: the scores of what was
     selected are compared afterwards, which is the same, because a box is only suppressed by
     better ones.
  3. What lies behind the selected boxes is padding: before iOS 17 MIL counts the boxes, from then
     on padding has the index -1 (Apple's own converter from PyTorch reads it so).

What comes out has as many rows (picture, class, box) as were selected, which no shape can say
beforehand: `non_zero` lists the rows that are filled, `gather` copies them. Nothing behind can be
lowered for a size that is not known; so this holds at the end of a graph only.
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import Call, Operand
from edgewise.targets.apple.deployment import is_older
from edgewise.targets.apple.ops.dynamic import at_the_end, where_true

_LOWEST = float(np.finfo(np.float32).min)


def non_max_suppression(call: Call) -> Operand:
    at_the_end(call, "how many boxes it selects is only known once the model runs")
    pictures, classes, count = call.shape(1)
    most = min(int(_parameter(call, 2, "number of boxes", 0.0)), count)
    if most < 1:
        call.refuse("it may select no box", "Give it a number of boxes per class.")
    boxes = _of_each_class(_centre_and_size(call), classes)
    scores = mb.reshape(x=call.var(1), shape=[pictures * classes, count, 1])
    indices, filled = _select(call, boxes, scores, most)
    total = pictures * classes * most
    places = np.moveaxis(np.indices((pictures, classes, most))[:2], 0, -1).reshape(total, 2)
    column = mb.reshape(x=indices, shape=[total, 1])
    table = mb.concat(values=[places.astype(np.int32), column], axis=1)
    rows = where_true(mb.reshape(x=filled, shape=[total]))
    return mb.gather(x=table, indices=rows, axis=0, name=call.name)


def _parameter(call: Call, index: int, what: str, default: float) -> float:
    return call.scalar(index, what) if call.has(index) else default


def _centre_and_size(call: Call) -> Var:
    """Case 1: x, y, width, height."""
    boxes = call.var(0)
    if call.attribute("center_point_box", 0):
        return boxes
    y1, x1, y2, x2 = mb.split(x=boxes, num_splits=4, axis=2)
    columns = []
    for one, other in ((x1, x2), (y1, y2)):
        low = mb.minimum(x=one, y=other)
        size = mb.sub(x=mb.maximum(x=one, y=other), y=low)
        centre = mb.add(x=low, y=mb.mul(x=size, y=np.float32(0.5)))
        columns.append((centre, size))
    (x, width), (y, height) = columns
    return mb.concat(values=[x, y, width, height], axis=2)


def _of_each_class(boxes: Var, classes: int) -> Var:
    pictures, count, _ = boxes.shape
    if classes == 1:
        return boxes
    apart = mb.tile(x=mb.expand_dims(x=boxes, axes=[1]), reps=[1, classes, 1, 1])
    return mb.reshape(x=apart, shape=[pictures * classes, count, 4])


def _select(call: Call, boxes: Var, scores: Var, most: int) -> tuple[Var, Var]:
    """Cases 2 and 3: indices (pictures x classes, most), and which of them are filled."""
    overlap = np.float32(_parameter(call, 3, "IoU threshold", 0.0))
    least = np.float32(_parameter(call, 4, "score threshold", _LOWEST))
    if is_older(call.system, "iOS17"):
        _, _, indices, selected = mb.non_maximum_suppression(
            boxes=boxes,
            scores=scores,
            iou_threshold=overlap,
            score_threshold=np.nextafter(least, np.float32(np.inf)),
            max_boxes=most,
        )
        order = np.arange(most, dtype=np.int32)[None]
        return indices, mb.less(x=order, y=mb.expand_dims(x=selected, axes=[1]))
    _, kept, indices = mb.non_maximum_suppression(
        boxes=mb.transpose(x=boxes, perm=[0, 2, 1]),
        scores=mb.transpose(x=scores, perm=[0, 2, 1]),
        iou_threshold=overlap,
        max_boxes=most,
    )
    good = mb.greater(x=mb.squeeze(x=kept, axes=[1]), y=least)
    return indices, mb.logical_and(x=good, y=mb.greater(x=indices, y=np.int32(-1)))
