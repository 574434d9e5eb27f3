"""Operators that read or make indices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from random_graphs.building import Growth, Val
from random_graphs.operands import (
    distinct,
)


def gather(g: Growth) -> None:
    x = g.value(lambda v: v.rank >= 1)
    axis = g.integer(0, x.rank - 1)
    size = x.shape[axis]

    def index(v: Val) -> bool:
        return (
            v.array.dtype in (np.int32, np.int64)
            and v.rank + x.rank <= 7
            and v.array.size <= 30
            and v.array.min() >= -size
            and v.array.max() < size
        )

    fitting = [v for v in g.values if index(v)]
    if fitting and g.chance(0.5):
        indices = g.pick(fitting)
    else:
        indices = g.const(
            g.random.integers(-size, size, g.dims(g.integer(0, 2), 4)).astype(
                g.pick([np.int32, np.int64])
            )
        )
    g.op("Gather", x, indices, axis=axis)


def computed_index(g: Growth) -> None:
    """Indices that arithmetic brings into range."""
    i = g.value(lambda v: v.array.dtype == np.int64 and v.rank <= 2 and v.array.size <= 40)
    x = g.value(lambda v: v.rank >= 1)
    axis = g.integer(0, x.rank - 1)
    index = g.op("Mod", i, g.const(np.int64(x.shape[axis])))
    g.op("Gather", x, index, axis=axis)


def gather_elements(g: Growth) -> None:
    x = g.value(lambda v: v.rank >= 1)
    axis = g.integer(0, x.rank - 1)
    dims = [g.integer(1, d) for d in x.shape]
    dims[axis] = g.integer(1, 4)
    indices = g.random.integers(-x.shape[axis], x.shape[axis], dims)
    g.op("GatherElements", x, g.const(indices), axis=axis)


def gather_nd(g: Growth) -> None:
    x = g.value(lambda v: v.rank >= 1)
    batch = g.integer(0, min(1, x.rank - 1))
    depth = g.integer(1, x.rank - batch)
    lead = [*x.shape[:batch], *g.dims(g.integer(1, 2), 4)]
    columns = [g.random.integers(-d, d, lead) for d in x.shape[batch : batch + depth]]
    g.op("GatherND", x, g.const(np.stack(columns, -1)), batch_dims=batch)


def scatter_elements(g: Growth) -> None:
    x = g.value(lambda v: v.rank >= 1 and v.kind in "fi")
    axis = g.integer(0, x.rank - 1)
    dims = [g.integer(1, d) for d in x.shape]
    reduction = g.pick(["none", "add", "mul", "max", "min"])
    size = x.shape[axis]
    if reduction == "none":  # no place twice
        order = g.random.permuted(
            np.broadcast_to(
                np.arange(size).reshape([-1 if i == axis else 1 for i in range(x.rank)]),
                [d if i != axis else size for i, d in enumerate(dims)],
            ),
            axis=axis,
        )
        indices = np.take(order, np.arange(dims[axis]), axis)
    else:
        indices = g.random.integers(-size, size, dims)
    updates = _updates(g, x, dims)
    g.op(
        "ScatterElements",
        x,
        g.const(indices.astype(np.int64)),
        updates,
        axis=axis,
        reduction=reduction,
    )


def _updates(g: Growth, x: Val, dims: Sequence[int]) -> Val:
    fitting = [v for v in g.values if v.shape == tuple(dims) and v.array.dtype == x.array.dtype]
    if fitting and g.chance(0.7):
        return g.pick(fitting)
    if x.kind == "f":
        return g.const(g.normal(*dims))
    return g.const(g.random.integers(-5, 5, dims).astype(x.array.dtype))


def scatter_nd(g: Growth) -> None:
    x = g.value(lambda v: v.rank >= 1 and v.kind in "fi")
    depth = g.integer(1, x.rank)
    places = int(np.prod(x.shape[:depth]))
    count = g.integer(1, min(places, 5))
    flat = g.random.choice(places, count, replace=False)
    indices = np.stack(np.unravel_index(flat, x.shape[:depth]), -1).astype(np.int64)
    updates = _updates(g, x, [count, *x.shape[depth:]])
    g.op(
        "ScatterND",
        x,
        g.const(indices),
        updates,
        reduction=g.pick(["none", "none", "add", "mul", "max"]),
    )


def topk(g: Growth) -> None:
    x = g.value(lambda v: v.rank >= 1 and v.kind in "fi")
    axis = g.integer(0, x.rank - 1)
    distinct(x, axis)
    keep = g.pick([(0,), (1,), (0, 1)])
    g.op(
        "TopK",
        x,
        g.ints(g.integer(1, x.shape[axis])),
        outputs=2,
        keep=keep,
        axis=axis,
        largest=g.integer(0, 1),
    )


def arg(g: Growth) -> None:
    x = g.value(lambda v: v.rank >= 1 and v.kind in "fi")
    axis = g.integer(0, x.rank - 1)
    distinct(x, axis)
    g.op(
        g.pick(["ArgMax", "ArgMin"]),
        x,
        axis=axis - (x.rank if g.chance(0.3) else 0),
        keepdims=g.integer(0, 1),
        select_last_index=1 if g.chance(0.2) else None,
    )


def one_hot(g: Growth) -> None:
    i = g.value(lambda v: v.array.dtype in (np.int32, np.int64) and v.rank <= 3)
    depth = g.integer(2, 5)
    g.op(
        "OneHot",
        i,
        g.const(np.int64(depth)),
        g.const(np.array([0, 1], np.float32)),
        axis=g.integer(-1, i.rank),
    )


def cumsum(g: Growth) -> None:
    x = g.value(lambda v: v.rank >= 1 and v.kind in "fi")
    g.op(
        "CumSum",
        x,
        g.const(np.int64(g.integer(-x.rank, x.rank - 1))),
        exclusive=g.integer(0, 1),
        reverse=g.integer(0, 1),
    )


def trilu(g: Growth) -> None:
    x = g.value(lambda v: v.rank >= 2)
    g.op("Trilu", x, g.const(np.int64(g.integer(-2, 2))), upper=g.integer(0, 1))


def shape_numbers(g: Growth) -> None:
    x = g.value()
    g.op(g.pick(["Shape", "Size"]), x)


def reverse_sequence(g: Growth) -> None:
    x = g.value(lambda v: v.rank >= 2)
    lengths = g.const(g.random.integers(1, x.shape[0] + 1, x.shape[1]))
    g.op("ReverseSequence", x, lengths, time_axis=0, batch_axis=1)
