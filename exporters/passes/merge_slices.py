"""A Slice of a Slice is one, where its bounds are constants.

1. Axes that only one of both cuts keep their bounds.
2. An axis of static size n that both cut with steps of 1, the first to [a, b) and the second to
   [c, d) of what is left, all counted from the front: [a + c, a + d).

TorchScript's exporter writes `x[:, 1:3, 2:4]` as one Slice for each axis. The inner one may have
other readers: it stays for them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgewise.exporters.passes.base import (
    Declined,
    PassOutcome,
    is_op,
    make_node,
    producer,
    replace,
)
from edgewise.graph import add_initializer, constant, node_label


@dataclass(frozen=True, slots=True)
class _Cut:
    start: int
    end: int
    step: int


def merge_slices(model: ir.Model) -> PassOutcome:
    """Merge from the front, so that a chain of any length ends as one node."""
    modified, declined = False, []
    for node in list(model.graph):
        inner = producer(node.inputs[0], "Slice") if is_op(node, "Slice") else None
        if inner is None or inner.inputs[0] is None:
            continue
        first, second = _cuts(inner), _cuts(node)
        merged = None if first is None or second is None else _merged(first, second, inner)
        if merged is None:
            reason = f"its bounds cannot be joined with those of '{node_label(inner)}'"
            declined.append(Declined(node_label(node), reason))
            continue
        label = node_label(node)
        rows = {
            "starts": [cut.start for cut in merged.values()],
            "ends": [cut.end for cut in merged.values()],
            "axes": list(merged),
            "steps": [cut.step for cut in merged.values()],
        }
        operands = [
            add_initializer(model.graph, f"{label}_{name}", np.array(row, np.int64))
            for name, row in rows.items()
        ]
        new = make_node("Slice", [inner.inputs[0], *operands], name=node.name)
        replace(model.graph, node, [new])
        modified = True
    return PassOutcome(model, modified, tuple(declined))


def _cuts(node: ir.Node) -> dict[int, _Cut] | None:
    """Per axis, in the numbers of the node."""
    data = node.inputs[0]
    if data is None or data.shape is None:
        return None
    rows = [constant(value) for value in node.inputs[1:]]
    given = [value is not None for value in node.inputs[1:]]
    if any(row is None for row, there in zip(rows, given, strict=True) if there):
        return None
    starts, ends, axes, steps = [*rows, None, None][:4]
    if starts is None or ends is None:
        return None
    axes = np.arange(len(starts)) if axes is None else axes
    steps = np.ones(len(starts), np.int64) if steps is None else steps
    rank = len(data.shape)
    return {
        int(axis) % rank: _Cut(int(start), int(end), int(step))
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    }


def _merged(
    first: dict[int, _Cut], second: dict[int, _Cut], inner: ir.Node
) -> dict[int, _Cut] | None:
    merged = dict(first)
    for axis, cut in second.items():
        both = _joined(first[axis], cut, inner, axis) if axis in first else cut
        if both is None:
            return None
        merged[axis] = both
    return merged


def _joined(first: _Cut, second: _Cut, inner: ir.Node, axis: int) -> _Cut | None:
    """Case 2."""
    source, middle = inner.inputs[0], inner.outputs[0]
    sizes = [
        None if value is None or value.shape is None else value.shape[axis]
        for value in (source, middle)
    ]
    if first.step != 1 or second.step != 1:
        return None
    if not isinstance(sizes[0], int) or not isinstance(sizes[1], int):
        return None
    start = slice(first.start, first.end).indices(sizes[0])[0]
    low, high, _ = slice(second.start, second.end).indices(sizes[1])
    return _Cut(start + low, start + max(low, high), 1)
