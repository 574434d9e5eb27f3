"""Relu, Clip, Min and Max by constants are intervals, and intervals in a row are one.

    Relu(x) = [0, inf]    Clip(x, a, b) = [a, b]    Max(x, a) = [a, inf]    Min(x, b) = [-inf, b]

With x limited first to [a, b] and then to [c, d], where a <= b and c <= d:

    min(max(min(max(x, a), b), c), d) = min(max(x, clip(a, c, d)), clip(b, c, d))

The result is written as Relu for [0, inf] and as Clip otherwise (ReLU6 is Clip from 0 to 6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgewise.exporters.passes.base import (
    Declined,
    PassOutcome,
    is_op,
    make_node,
    operand_and_scalar,
    replace,
    scalar,
    sole_consumer,
)
from edgewise.graph import add_initializer, node_label

_OPS = ("Relu", "Clip", "Max", "Min")


@dataclass(frozen=True, slots=True)
class _Interval:
    low: float
    high: float

    def then(self, after: _Interval) -> _Interval:
        return _Interval(
            min(max(self.low, after.low), after.high), min(max(self.high, after.low), after.high)
        )


def merge_clips(model: ir.Model) -> PassOutcome:
    """Join intervals whose first result nobody else reads, and write each in its plain form."""
    modified, declined = False, []
    for node in list(model.graph):
        found = _interval(node)
        if found is None:
            continue
        source, interval = found
        merged = False
        while (before := source.producer()) is not None and (inner := _interval(before)):
            if sole_consumer(source) is None:
                reason = f"the result of '{node_label(before)}' is used elsewhere too"
                declined.append(Declined(node_label(node), reason))
                break
            source, interval = inner[0], inner[1].then(interval)
            merged = True
        if merged or not _is_plain(node, interval):
            replace(model.graph, node, [_written(model.graph, node, source, interval)])
            modified = True
    return PassOutcome(model, modified, tuple(declined))


def _interval(node: ir.Node) -> tuple[ir.Value, _Interval] | None:
    """What is limited, and to what; only for floating-point data and constant bounds."""
    if not is_op(node, *_OPS) or node.inputs[0] is None:
        return None
    dtype = node.outputs[0].dtype
    if dtype is None or not dtype.is_floating_point():
        return None
    if is_op(node, "Relu"):
        return node.inputs[0], _Interval(0.0, math.inf)
    if is_op(node, "Max", "Min"):
        pair = operand_and_scalar(node) if len(node.inputs) == 2 else None
        if pair is None or math.isnan(pair[1]):
            return None
        limits = (pair[1], math.inf) if node.op_type == "Max" else (-math.inf, pair[1])
        return pair[0], _Interval(*limits)
    bounds = []
    for index, default in ((1, -math.inf), (2, math.inf)):
        given = node.inputs[index] if len(node.inputs) > index else None
        bound = default if given is None else scalar(given)
        if bound is None or math.isnan(bound):
            return None
        bounds.append(bound)
    return (node.inputs[0], _Interval(*bounds)) if bounds[0] <= bounds[1] else None


def _is_plain(node: ir.Node, interval: _Interval) -> bool:
    relu = interval == _Interval(0.0, math.inf)
    return is_op(node, "Relu") if relu else is_op(node, "Clip")


def _written(graph: ir.Graph, node: ir.Node, source: ir.Value, interval: _Interval) -> ir.Node:
    label = node_label(node)
    if interval == _Interval(0.0, math.inf):
        return make_node("Relu", [source], name=node.name)
    dtype = np.float32 if source.dtype is None else source.dtype.numpy()
    low, high = (
        None
        if math.isinf(bound) and bound == limit
        else add_initializer(graph, f"{label}_{name}", np.asarray(bound, dtype))
        for name, bound, limit in (
            ("min", interval.low, -math.inf),
            ("max", interval.high, math.inf),
        )
    )
    return make_node("Clip", [source, low, high], name=node.name)
