"""Functions of one or more elements: floats, integers, comparisons, logic."""

from __future__ import annotations

import numpy as np

from random_graphs.building import Growth, take
from random_graphs.operands import (
    GAP,
    apart,
    broadcast,
    ordered,
    partner,
)


def unary(g: Growth) -> None:
    x = g.floats()
    kind, attrs = g.pick(
        [
            ("Relu", {}),
            ("LeakyRelu", {"alpha": 0.2}),
            ("Elu", {"alpha": 1.3}),
            ("Celu", {"alpha": 0.7}),
            ("Selu", {}),
            ("Sigmoid", {}),
            ("Tanh", {}),
            ("HardSigmoid", {"alpha": 0.3}),
            ("HardSwish", {}),
            ("Softplus", {}),
            ("Softsign", {}),
            ("Erf", {}),
            ("Gelu", {}),
            ("Gelu", {"approximate": "tanh"}),
            ("Mish", {}),
            ("Abs", {}),
            ("Neg", {}),
            ("Sin", {}),
            ("Cos", {}),
            ("Atan", {}),
            ("Identity", {}),
            ("ThresholdedRelu", {"alpha": 0.4}),
            ("Shrink", {"lambd": 0.3, "bias": 0.1}),
            ("Dropout", {}),
            ("Sinh", {}),
            ("Asinh", {}),
            ("Exp", {}),
        ]
    )
    if kind in ("ThresholdedRelu", "Shrink"):
        threshold = attrs.get("alpha", attrs.get("lambd"))
        take(float(np.abs(np.abs(x.array) - threshold).min()) > GAP)
    if kind == "Exp":
        take(float(x.array.max()) < 4)
    if kind == "Dropout":
        g.op(kind, x)
        return
    g.op(kind, x, **attrs)


def positive(g: Growth) -> None:
    x = g.op("Abs", g.floats())
    x = g.op("Add", x, g.const(np.float32(0.2)))
    g.op(g.pick(["Sqrt", "Log", "Reciprocal"]), x)


def rounding(g: Growth) -> None:
    x = g.floats()
    take(float(np.abs(x.array * 2 - np.round(x.array * 2)).min()) > GAP)
    g.op(g.pick(["Floor", "Ceil", "Round", "Sign"]), x)


def clip(g: Growth) -> None:
    low, high = g.pick([(0, 6), (-1, 1), (0, 1), (-0.3, 0.9), (None, 0.5), (0.1, None), (0.5, 0.5)])
    limits = [None if v is None else g.const(np.float32(v)) for v in (low, high)]
    g.op("Clip", g.floats(), *limits)


def binary(g: Growth) -> None:
    a = g.floats()
    b = partner(g, a)
    g.op(g.pick(["Add", "Sub", "Mul", "Max", "Min"]), *ordered(g, a, b))


def variadic(g: Growth) -> None:
    a = g.floats()
    others = [partner(g, a) for _ in range(g.integer(0, 2))]
    g.op(g.pick(["Sum", "Mean", "Max", "Min"]), a, *others)


def division(g: Growth) -> None:
    a = g.floats()
    b = partner(g, a)
    take(float(np.abs(b.array).min()) > 0.1)
    g.op("Div", a, b)


def power(g: Growth) -> None:
    x = g.op("Abs", g.floats())
    x = g.op("Add", x, g.const(np.float32(0.1)))
    exponent = g.pick([2.0, 0.5, -1.0, 3.0, 1.7, -0.5])
    g.op("Pow", x, g.const(np.float32(exponent)))


def square(g: Growth) -> None:
    g.op(
        "Pow", g.floats(), g.const(g.pick([np.float32(2), np.float32(3), np.int64(2), np.int32(3)]))
    )


def prelu(g: Growth) -> None:
    x = g.floats()
    shape = [1 if g.chance(0.5) else d for d in x.shape]
    g.op("PRelu", x, g.const(g.normal(*shape[g.integer(0, len(shape)) :])))


def fmod(g: Growth) -> None:
    x = g.floats()
    quotient = x.array / 1.5
    take(float(np.abs(quotient - np.round(quotient)).min()) > GAP)
    g.op("Mod", x, g.const(np.float32(1.5)), fmod=1)


def to_int(g: Growth) -> None:
    x = g.floats()
    take(float(np.abs(x.array - np.round(x.array)).min()) > GAP)
    g.op("Cast", x, to=g.pick([6, 7]))


def cast(g: Growth) -> None:
    x = g.value(lambda v: v.kind in "iub")
    g.op("Cast", x, to=1)


def cast_any(g: Growth) -> None:
    x = g.value(lambda v: v.kind in "ib")
    g.op("Cast", x, to=g.pick([1, 6, 7, 9]))


def integer_binary(g: Growth) -> None:
    a = g.value(lambda v: v.array.dtype in (np.int32, np.int64))
    b = partner(g, a)
    kind = g.pick(["Add", "Sub", "Mul", "Max", "Min", "Div", "Mod", "Mod", "Pow"])
    attrs = {}
    if kind in ("Div", "Mod"):
        b = g.const(np.array(g.pick([2, 3, 7, -4]), a.array.dtype))
        attrs = {"fmod": 1} if kind == "Mod" and g.chance(0.3) else {}
    elif kind == "Pow":
        b = g.const(np.array(2, a.array.dtype))
    else:
        a, b = ordered(g, a, b)
    g.op(kind, a, b, **attrs)


def integer_unary(g: Growth) -> None:
    a = g.value(lambda v: v.array.dtype in (np.int32, np.int64))
    g.op(g.pick(["Abs", "Neg", "Sign", "Identity", "Clip"]), a)


def comparison(g: Growth) -> None:
    a = g.value(lambda v: v.kind in "fi")
    b = partner(g, a)
    apart(a, b)
    kind = g.pick(["Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal"])
    g.op(kind, *ordered(g, a, b))


def logical(g: Growth) -> None:
    a = g.value(lambda v: v.kind == "b")
    if g.chance(0.3):
        g.op("Not", a)
    else:
        g.op(g.pick(["And", "Or", "Xor", "Equal"]), a, partner(g, a))


def where(g: Growth) -> None:
    condition = g.value(lambda v: v.kind == "b")
    a = g.value(lambda v: v.kind in "fi" and broadcast(v, condition))
    b = partner(g, a)
    g.op("Where", condition, *ordered(g, a, b))
