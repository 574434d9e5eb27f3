"""NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss (ONNX operator specification).

With scores (N, C, d1, ..), targets (N, d1, ..) and weights per class, the loss of one element is
`-weight[target] * score[target]`, and 0 where the target is `ignore_index`. The class axis is
picked from by a mask `target == class`, which needs no gather, holds for an ignored index out of
range, and adds only zeros to the one score that counts.
  1. reduction none: the losses; sum: their sum
  2. mean: their sum over the sum of the weights that counted
  3. SoftmaxCrossEntropyLoss: the same of LogSoftmax along the class axis, which it also gives
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import Expansion


def expand_negative_log_likelihood_loss(e: Expansion) -> Sequence[ir.Value]:
    return [_loss(e, e.input(0))]


def expand_softmax_cross_entropy_loss(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 3."""
    scores = e.op("LogSoftmax", e.input(0), axis=1)
    loss = _loss(e, scores)
    if len(e.node.outputs) == 1:
        return [loss]
    return [loss, scores if e.wants(1) else None]


def _loss(e: Expansion, scores: ir.Value) -> ir.Value:
    """Cases 1 and 2."""
    reduction = e.attribute("reduction", "mean")
    classes, zero = e.shape(0)[1], e.number(0.0)
    chosen = _mask(e, classes)
    picked = _over_classes(e, e.op("Where", chosen, e.op("Neg", scores), zero))
    weights = _weights(e, chosen, classes)
    losses = picked if weights is None else e.op("Mul", picked, weights)
    if reduction == "none":
        return losses
    if reduction == "sum" or weights is None:
        kind = "ReduceSum" if reduction == "sum" else "ReduceMean"
        reduced: ir.Value = e.op(kind, losses, keepdims=0)
        return reduced
    total = e.op("ReduceSum", losses, keepdims=0)
    mean: ir.Value = e.op("Div", total, e.op("ReduceSum", weights, keepdims=0))
    return mean


def _mask(e: Expansion, classes: int) -> ir.Value:
    """Where the class axis is at the target, and the target is not to be ignored."""
    shape = e.shape(1)
    spread = e.reshape(e.input(1), [shape[0], 1, *shape[1:]])
    numbers = np.arange(classes).reshape(1, classes, *[1] * len(shape[1:]))
    ignored = e.attribute("ignore_index")
    if ignored is not None:  # the class of that number is never reached
        numbers = np.where(numbers == ignored, -1, numbers)
    chosen: ir.Value = e.op("Equal", spread, e.array(numbers, e.dtype(1)))
    return chosen


def _weights(e: Expansion, chosen: ir.Value, classes: int) -> ir.Value | None:
    """The weight of each element; None where all of them are 1."""
    if not e.has(2) and e.attribute("ignore_index") is None:
        return None
    rank = len(e.shape(0))
    if e.has(2):
        weights = e.reshape(e.input(2), [1, classes, *[1] * (rank - 2)])
    else:
        weights = e.number(1.0)
    return _over_classes(e, e.op("Where", chosen, weights, e.number(0.0)))


def _over_classes(e: Expansion, value: ir.Value) -> ir.Value:
    total: ir.Value = e.op("ReduceSum", value, e.ints([1]), keepdims=0)
    return total
