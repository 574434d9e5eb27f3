"""Reductions, softmax and normalizations."""

from __future__ import annotations

import numpy as np

from random_graphs.building import Growth, Val, take
from random_graphs.operands import (
    distinct,
    varied,
)


def reduction(g: Growth) -> None:
    x = g.floats()
    kind = g.pick(
        [
            "ReduceMean",
            "ReduceSum",
            "ReduceMax",
            "ReduceMin",
            "ReduceL1",
            "ReduceL2",
            "ReduceSumSquare",
            "ReduceLogSumExp",
            "ReduceProd",
            "ReduceMean",
            "ReduceMax",
        ]
    )
    _reduce(g, kind, x)


def integer_reduction(g: Growth) -> None:
    x = g.value(lambda v: v.array.dtype in (np.int32, np.int64))
    _reduce(
        g,
        g.pick(
            ["ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSumSquare", "ReduceMean"]
        ),
        x,
    )


def _reduce(g: Growth, kind: str, x: Val) -> None:
    keepdims = g.integer(0, 1)
    count = g.integer(0, x.rank)
    axes = (
        [
            int(a) - (x.rank if g.chance(0.3) else 0)
            for a in g.random.choice(max(x.rank, 1), count, replace=False)
        ]
        if x.rank
        else []
    )
    if g.opset < 18 and kind != "ReduceSum":
        g.op(kind, x, axes=axes or None, keepdims=keepdims)
    elif axes:
        g.op(kind, x, g.ints(*axes), keepdims=keepdims)
    else:
        g.op(kind, x, keepdims=keepdims, noop_with_empty_axes=g.integer(0, 1))


def softmax(g: Growth) -> None:
    x = g.value(lambda v: v.kind == "f" and v.rank >= 1)
    axis = g.integer(-x.rank, x.rank - 1)
    g.op(g.pick(["Softmax", "Softmax", "LogSoftmax"]), x, axis=axis)


def hardmax(g: Growth) -> None:
    x = g.value(lambda v: v.kind == "f" and v.rank >= 1)
    axis = g.integer(-x.rank, x.rank - 1)
    distinct(x, axis)
    g.op("Hardmax", x, axis=axis)


def batch_norm(g: Growth) -> None:
    x = g.value(lambda v: v.kind == "f" and v.rank >= 2)
    c = x.shape[1]
    params = [g.normal(c), g.normal(c), g.normal(c), np.abs(g.normal(c)) + 0.3]
    g.op("BatchNormalization", x, *map(g.const, params))


def instance_norm(g: Growth) -> None:
    x = g.floats([3, 4, 5])
    varied(x, tuple(range(2, x.rank)))
    c = x.shape[1]
    g.op("InstanceNormalization", x, g.const(g.normal(c)), g.const(g.normal(c)))


def layer_norm(g: Growth) -> None:
    take(g.opset >= 17)
    x = g.value(lambda v: v.kind == "f" and v.rank >= 1)
    axis = g.integer(-x.rank, x.rank - 1)
    varied(x, tuple(range(axis % x.rank, x.rank)))
    shape = x.shape[axis % x.rank :]
    operands = [g.const(g.normal(*shape))] + ([g.const(g.normal(*shape))] if g.chance(0.6) else [])
    if g.opset >= 23 and len(operands) == 1:
        g.op("RMSNormalization", x, *operands, axis=axis)
    else:
        g.op("LayerNormalization", x, *operands, axis=axis)


def group_norm(g: Growth) -> None:
    x = g.floats([3, 4, 5])
    c = x.shape[1]
    groups = g.pick([d for d in range(1, c + 1) if c % d == 0])
    take(float(x.array.reshape(x.shape[0], groups, -1).std(-1).min()) > 0.05)
    count = c if g.opset >= 21 else groups
    g.op(
        "GroupNormalization",
        x,
        g.const(g.normal(count)),
        g.const(g.normal(count)),
        num_groups=groups,
    )


def lrn(g: Growth) -> None:
    g.op("LRN", g.floats([3, 4]), size=g.pick([1, 3, 5]), alpha=0.3, bias=1.2)


def lp_norm(g: Growth) -> None:
    x = g.value(lambda v: v.kind == "f" and v.rank >= 1)
    axis = g.integer(-x.rank, x.rank - 1)
    take(float(np.abs(x.array).sum(axis).min()) > 0.05)
    take(x.shape[axis] > 1)
    g.op("LpNormalization", x, axis=axis, p=g.integer(1, 2))


def mean_variance(g: Growth) -> None:
    x = g.floats([4])
    varied(x, (0, 2, 3))
    g.op("MeanVarianceNormalization", x)
