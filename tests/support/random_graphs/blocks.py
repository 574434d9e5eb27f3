"""Groups of nodes that networks have."""

from __future__ import annotations

import numpy as np

from random_graphs.building import Growth, Val
from random_graphs.operands import (
    ordered,
    varied,
)


def attention(g: Growth) -> None:
    x = g.floats([3])
    b, t, c = x.shape
    heads = g.pick([d for d in (1, 2, 3) if c % d == 0])

    def project() -> Val:
        y = g.op("MatMul", x, g.const(g.normal(c, c, scale=c**-0.5)))
        y = g.op("Add", y, g.const(g.normal(c, scale=0.2)))
        return g.op("Reshape", y, g.ints(b, t, heads, c // heads))

    q = g.op("Transpose", project(), perm=[0, 2, 1, 3])
    k = g.op("Transpose", project(), perm=[0, 2, 3, 1])
    v = g.op("Transpose", project(), perm=[0, 2, 1, 3])
    s = g.op("Mul", g.op("MatMul", q, k), g.const(np.float32((c // heads) ** -0.5)))
    if g.chance(0.4):
        s = g.op("Add", s, g.const(np.triu(np.full((t, t), -1e4, np.float32), 1)))
    p = g.op("Softmax", s, axis=-1)
    y = g.op("Transpose", g.op("MatMul", p, v), perm=[0, 2, 1, 3])
    g.op("Add", x, g.op("Reshape", y, g.ints(b, t, c)))


def squeeze_excite(g: Growth) -> None:
    x = g.floats([4])
    c = x.shape[1]
    y = g.op("GlobalAveragePool", x) if g.chance(0.5) else _mean(g, x)
    y = g.op("Relu", g.op("Conv", y, g.const(g.normal(2, c, 1, 1))))
    y = g.op(g.pick(["Sigmoid", "HardSigmoid"]), g.op("Conv", y, g.const(g.normal(c, 2, 1, 1))))
    g.op("Mul", *ordered(g, x, y))


def _mean(g: Growth, x: Val) -> Val:
    if g.opset < 18:
        return g.op("ReduceMean", x, axes=[2, 3], keepdims=1)
    return g.op("ReduceMean", x, g.ints(2, 3), keepdims=1)


def block(g: Growth) -> None:
    x = g.floats([4])
    c = x.shape[1]
    y = g.op(
        "Conv", x, g.const(g.normal(c, c, 3, 3, scale=0.3)), g.const(g.normal(c)), pads=[1] * 4
    )
    if g.chance(0.5):
        y = g.op(
            "BatchNormalization",
            y,
            *map(g.const, [g.normal(c), g.normal(c), g.normal(c), np.abs(g.normal(c)) + 0.5]),
        )
    y = g.op(g.pick(["Relu", "HardSwish", "Sigmoid", "Tanh"]), y)
    g.op("Add", *ordered(g, x, y))


def tokens(g: Growth) -> None:
    x = g.floats([4])
    b, c, h, w = x.shape
    y = g.op("Transpose", g.op("Reshape", x, g.ints(b, c, -1)), perm=[0, 2, 1])
    y = g.op("Add", g.op("MatMul", y, g.const(g.normal(c, 4, scale=0.5))), g.const(g.normal(4)))
    if g.chance(0.5):
        g.op("Reshape", g.op("Transpose", y, perm=[0, 2, 1]), g.ints(b, 4, h, w))


def swish(g: Growth) -> None:
    x = g.floats()
    g.op("Mul", x, g.op("Sigmoid", x))


def spelled_norm(g: Growth) -> None:
    x = g.value(lambda v: v.kind == "f" and v.rank >= 2)
    varied(x, (x.rank - 1,))
    axes = g.ints(-1)

    def mean(v: Val) -> Val:
        if g.opset < 18:
            return g.op("ReduceMean", v, axes=[-1], keepdims=1)
        return g.op("ReduceMean", v, axes, keepdims=1)

    centred = g.op("Sub", x, mean(x))
    variance = mean(g.op("Pow", centred, g.const(np.float32(2))))
    root = g.op("Sqrt", g.op("Add", variance, g.const(np.float32(1e-5))))
    y = g.op("Div", centred, root)
    g.op("Mul", y, g.const(g.normal(x.shape[-1])))


def wide_product(g: Growth) -> None:
    """Large enough for the precisions that store weights only."""
    x = g.value(lambda v: v.kind == "f" and v.rank >= 2)
    k = x.shape[-1]
    n = g.pick([64, 32, 40])
    y = g.op("MatMul", x, g.const(g.normal(k, n, scale=k**-0.5)))
    if g.chance(0.5):
        y = g.op("Add", y, g.const(g.normal(n)))
    y = g.op(g.pick(["Relu", "Tanh"]), y)
    g.op("MatMul", y, g.const(g.normal(n, g.pick([8, 16, 32]), scale=n**-0.5)))
