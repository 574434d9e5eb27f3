"""Operators that move elements: orders of axes, shapes, parts and padding."""

from __future__ import annotations

import numpy as np

from random_graphs.building import Growth, Val, take
from random_graphs.operands import (
    factors,
)


def transpose(g: Growth) -> None:
    x = g.value(lambda v: v.rank >= 2)
    perm = [int(i) for i in g.random.permutation(x.rank)]
    g.op("Transpose", x, perm=None if g.chance(0.1) else perm)


def reshape(g: Growth) -> None:
    x = g.value()
    dims = factors(g, x.array.size)
    if dims and g.chance(0.4):
        dims[g.integer(0, len(dims) - 1)] = -1
    if dims and x.rank and g.chance(0.2) and dims[0] == x.shape[0]:
        dims[0] = 0
    g.op("Reshape", x, g.ints(*dims))


def reshape_by_shape(g: Growth) -> None:
    """As exporters do: sizes taken from Shape, Gather and Concat."""
    x = g.value(lambda v: v.rank >= 2)
    shape = g.op("Shape", x)
    first = g.op("Gather", shape, g.ints(0), axis=0)
    g.op("Reshape", x, g.op("Concat", first, g.ints(-1), axis=0))


def flatten(g: Growth) -> None:
    x = g.value(lambda v: v.rank >= 1)
    g.op("Flatten", x, axis=g.integer(-x.rank, x.rank))


def squeeze(g: Growth) -> None:
    x = g.value(lambda v: 1 in v.shape)
    ones = [i - (x.rank if g.chance(0.5) else 0) for i, d in enumerate(x.shape) if d == 1]
    if g.chance(0.3):
        g.op("Squeeze", x)
    else:
        g.op("Squeeze", x, g.ints(*ones[: g.integer(1, len(ones))]))


def unsqueeze(g: Growth) -> None:
    x = g.value(lambda v: v.rank <= 4)
    count = g.integer(1, 2)
    axes = [int(a) for a in g.random.choice(x.rank + count, count, replace=False)]
    g.op("Unsqueeze", x, g.ints(*[a - (x.rank + count if g.chance(0.5) else 0) for a in axes]))


def expand(g: Growth) -> None:
    x = g.value()
    dims = [g.integer(2, 3) if d == 1 and g.chance(0.6) else d for d in x.shape]
    lead = [g.integer(1, 3)] if g.chance(0.3) and x.rank < 5 else []
    g.op("Expand", x, g.ints(*lead, *dims))


def tile(g: Growth) -> None:
    x = g.value(lambda v: v.rank >= 1)
    g.op("Tile", x, g.ints(*[g.integer(1, 2) for _ in x.shape]))


def concat(g: Growth) -> None:
    x = g.value(lambda v: v.rank >= 1)
    axis = g.integer(0, x.rank - 1)

    def goes(v: Val) -> bool:
        return (
            v.array.dtype == x.array.dtype
            and v.rank == x.rank
            and all(
                a == b or i == axis for i, (a, b) in enumerate(zip(v.shape, x.shape, strict=True))
            )
        )

    parts = [x, *(g.value(goes) for _ in range(g.integer(0, 3)))]
    if x.kind == "f" and g.chance(0.2):
        shape = list(x.shape)
        shape[axis] = g.integer(1, 3)
        parts.append(g.const(g.normal(*shape)))
    order = [parts[i] for i in g.random.permutation(len(parts))]
    g.op("Concat", *order, axis=axis - (x.rank if g.chance(0.3) else 0))


def split(g: Growth) -> None:
    x = g.value(lambda v: v.rank >= 1 and max(v.shape) >= 2)
    axis = g.pick([i for i, d in enumerate(x.shape) if d >= 2])
    size = x.shape[axis]
    count = g.integer(2, min(size, 4))
    given = axis - (x.rank if g.chance(0.3) else 0)
    if g.chance(0.5) and g.opset >= 18:
        take((count - 1) * -(-size // count) < size)
        g.op("Split", x, outputs=count, keep=range(count), axis=given, num_outputs=count)
        return
    cuts = sorted(int(c) for c in g.random.choice(np.arange(1, size), count - 1, replace=False))
    sizes = np.diff([0, *cuts, size])
    g.op("Split", x, g.ints(*sizes), outputs=count, keep=range(count), axis=given)


def slice_(g: Growth) -> None:
    x = g.value(lambda v: v.rank >= 1)
    axes = [int(a) for a in g.random.choice(x.rank, g.integer(1, min(x.rank, 3)), replace=False)]
    starts, ends, steps = [], [], []
    for axis in axes:
        size = x.shape[axis]
        step = g.pick([1, 1, 1, 2, -1, -2, 3])
        low = g.integer(0, size - 1)
        high = g.integer(low + 1, size)
        if step > 0:
            start, end = low, g.pick([high, 2**62 if g.chance(0.5) else high])
            if g.chance(0.3):
                start -= size
        else:
            start, end = (
                g.pick([high - 1, -1, 2**31]),
                g.pick([-(2**62), low - 1 if low else -size - 1]),
            )
        starts.append(start)
        ends.append(end)
        steps.append(step)
    given = [a - (x.rank if g.chance(0.3) else 0) for a in axes]
    if all(s == 1 for s in steps) and g.chance(0.5):
        g.op("Slice", x, g.ints(*starts), g.ints(*ends), g.ints(*given))
    else:
        g.op("Slice", x, g.ints(*starts), g.ints(*ends), g.ints(*given), g.ints(*steps))


def pad(g: Growth) -> None:
    x = g.value(lambda v: v.rank >= 1 and v.kind in "fi")
    mode = g.pick(["constant", "constant", "edge", "reflect", "wrap"])
    low = -1 if mode == "constant" else 0
    pads = [g.integer(low, 2) if g.chance(0.5) else 0 for _ in range(2 * x.rank)]
    value = (
        g.const(np.array(g.pick([0, 0.7, -3]), x.array.dtype))
        if mode == "constant" and g.chance(0.6)
        else None
    )
    g.op("Pad", x, g.ints(*pads), *([value] if value else []), mode=mode)


def depth_space(g: Growth) -> None:
    x = g.floats([4])
    if x.shape[1] % 4 == 0:
        g.op("DepthToSpace", x, blocksize=2, mode=g.pick(["DCR", "CRD"]))
    else:
        g.op("SpaceToDepth", x, blocksize=2)


def constant_node(g: Growth) -> None:
    """A constant that nodes compute."""
    a = g.const(g.normal(*g.dims(g.integer(0, 3))))
    g.op(g.pick(["Neg", "Abs", "Identity"]), a)
