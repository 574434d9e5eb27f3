"""NonMaxSuppression: one NON_MAX_SUPPRESSION_V4 for each class of each picture.

Its kernel selects indices of boxes, best score first, and says how many.
  1. It suppresses from `iou >= threshold` on, ONNX above the threshold only: the next larger
     float32 makes both the same.
  2. It takes a selected box for a candidate again, and counts on its overlap of 1 with itself. A
     box without area overlaps with nothing, so it would be selected over and over. Such boxes are
     moved apart, beyond all others: there they have an area, and still overlap with nothing.
  3. For the same reason a threshold of 1 or more, which suppresses nothing, becomes TOPK_V2.
Which of equal scores comes first ONNX leaves open.

What comes out has as many rows (picture, class, box) as were selected, which no shape can say
beforehand. So the tensor is resized while the model runs: WHERE lists the rows that are filled,
GATHER_ND copies them. Nothing behind can be lowered for a size that is not known; so this holds at
the end of a graph only.
"""

from __future__ import annotations

from math import prod

import numpy as np

from edgewise.targets.android.builder import FLOAT32
from edgewise.targets.android.call import NO_ACTIVATION, Call
from edgewise.targets.android.layout import Value, identity
from edgewise.targets.android.model import INT32, INT64, Tensor
from edgewise.targets.android.ops.dtypes import BOOL, cast

#: smaller numbers count as zero on processors that flush them
_SMALLEST_NORMAL = np.finfo(np.float32).tiny
_DEFER = "End the exported graph at NonMaxSuppression, or at boxes and scores."


def lower_non_max_suppression(call: Call) -> None:
    builder = call.builder
    (pictures, classes, count), boxes = call.shape(1), _corners(call)
    if call.node.outputs[0].uses():
        raise call.refuse("how many boxes it selects is only known once the model runs", _DEFER)
    most = min(int(_parameter(call, 2, "number of boxes", 0.0)), count)
    if most < 1:
        raise call.refuse("it may select no box", "Give it a number of boxes per class.")
    scores = builder.linear(call.operand(1)).tensor
    rows, selected = [], []
    for picture in range(pictures):
        frame = _with_areas(call, _part(call, boxes, (picture,)))
        for number in range(classes):
            found, filled = _select(call, frame, _part(call, scores, (picture, number)), most)
            place = np.broadcast_to(np.array([picture, number], np.int32), (most, 2))
            column = builder.reshape(found, (most, 1))
            rows.append(_joined(call, [builder.constant(place), column], (most, 3), 1))
            selected.append(filled)
    total = len(rows) * most
    table = Value(_joined(call, rows, (total, 3), 0), identity(2))
    mask = _joined(call, selected, (total,), 0)
    places = builder.add("WHERE", [mask], (total, 1), INT64)
    places.shape_signature = (-1, 1)
    y = builder.add("GATHER_ND", [cast(call, table, INT64), places], (total, 3), INT64)
    y.shape_signature = (-1, 3)
    call.note(
        "data-dependent-size",
        f"output '{call.node.outputs[0].name}' has as many rows as boxes were selected, at most "
        f"{total}: its tensor is resized by each run",
        f"Read its shape after each run, and give it room for {total} rows.",
    )
    call.finish(Value(y, identity(2)))


def _parameter(call: Call, index: int, what: str, default: float) -> float:
    return float(call.known(index, what).reshape(())) if call.has(index) else default


def _corners(call: Call) -> Tensor:
    """Boxes as two corners; their order does not matter, nor which coordinate comes first."""
    builder = call.builder
    boxes = builder.linear(call.operand(0)).tensor
    if not call.attribute("center_point_box", 0):
        return boxes
    shape = (*boxes.shape[:2], 2)
    centre, size = (
        builder.add("SLICE", [boxes, builder.ints([0, 0, at]), builder.ints(shape)], shape, FLOAT32)
        for at in (0, 2)
    )
    half = builder.add(
        "MUL",
        [size, builder.float_scalar(0.5)],
        shape,
        FLOAT32,
        fusedActivationFunction=NO_ACTIVATION,
    )
    corners = [
        builder.add(kind, [centre, half], shape, FLOAT32, fusedActivationFunction=NO_ACTIVATION)
        for kind in ("SUB", "ADD")
    ]
    return _joined(call, corners, boxes.shape, 2)


def _part(call: Call, tensor: Tensor, places: tuple[int, ...]) -> Tensor:
    """What lies at those places of the first axes."""
    builder, inner = call.builder, tensor.shape[len(places) :]
    if prod(tensor.shape[: len(places)]) == 1:
        return builder.reshape(tensor, inner)
    begin = [*places, *[0] * len(inner)]
    size = (*[1] * len(places), *inner)
    cut = builder.add("SLICE", [tensor, builder.ints(begin), builder.ints(size)], size, FLOAT32)
    return builder.reshape(cut, inner)


def _select(call: Call, boxes: Tensor, scores: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Indices of the boxes of one class, `most` of them, and which of these are filled."""
    builder = call.builder
    overlap = np.float32(_parameter(call, 3, "IoU threshold", 0.0))
    least = builder.float_scalar(_parameter(call, 4, "score threshold", -np.inf))
    found, number = Tensor((most,), INT32), Tensor((), INT32)
    if overlap >= 1:
        best = Tensor((most,), FLOAT32)
        inputs = [scores, builder.ints(most)]
        builder.graph.add("TOPK_V2", inputs, [best, found], builder.origin, None, {})
        return found, builder.add("GREATER", [best, least], (most,), BOOL)
    above = max(np.nextafter(overlap, np.float32(np.inf)), _SMALLEST_NORMAL)
    inputs = [boxes, scores, builder.ints(most), builder.float_scalar(float(above)), least]
    kind = "NON_MAX_SUPPRESSION_V4"
    builder.graph.add(kind, inputs, [found, number], builder.origin, None, {})
    positions = builder.constant(np.arange(most, dtype=np.int32))
    return found, builder.add("LESS", [positions, number], (most,), BOOL)


def _with_areas(call: Call, boxes: Tensor) -> Tensor:
    """Case 2: box i without area becomes `(2i + 2, 0, 2i + 3, 1)` times more than any size."""
    builder, count = call.builder, boxes.shape[0]

    def compute(kind: str, left: Tensor, right: Tensor, shape: tuple[int, ...]) -> Tensor:
        return builder.add(
            kind, [left, right], shape, FLOAT32, fusedActivationFunction=NO_ACTIVATION
        )

    def columns(table: Tensor, start: int, width: int) -> Tensor:
        inputs = [table, builder.ints([0, start]), builder.ints([count, width])]
        return builder.add("SLICE", inputs, (count, width), FLOAT32)

    sides = compute("SUB", columns(boxes, 2, 2), columns(boxes, 0, 2), (count, 2))
    area = compute("MUL", columns(sides, 0, 1), columns(sides, 1, 1), (count, 1))
    flat = builder.add("EQUAL", [area, builder.float_scalar(0.0)], (count, 1), BOOL)
    sizes = builder.add("ABS", [boxes], boxes.shape, FLOAT32)  # of coordinates
    largest = builder.add("REDUCE_MAX", [sizes, builder.ints([0, 1])], (), FLOAT32, keepDims=False)
    unit = compute("ADD", largest, builder.float_scalar(1.0), ())
    corners = np.arange(count, dtype=np.float32)[:, None] * [[2, 0, 2, 0]] + [[2, 0, 3, 1]]
    apart = compute("MUL", builder.constant(corners.astype(np.float32)), unit, boxes.shape)
    return builder.add("SELECT_V2", [flat, apart, boxes], boxes.shape, FLOAT32)


def _joined(call: Call, tensors: list[Tensor], shape: tuple[int, ...], axis: int) -> Tensor:
    if len(tensors) == 1:
        return tensors[0]
    return call.builder.add(
        "CONCATENATION",
        tensors,
        shape,
        tensors[0].dtype,
        axis=axis,
        fusedActivationFunction=NO_ACTIVATION,
    )
