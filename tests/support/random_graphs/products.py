"""Convolutions, pools, matrix products, recurrent layers and images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from random_graphs.building import Growth, Val, take
from random_graphs.operands import (
    distinct,
    factors,
    ordered,
)


def _spatial(g: Growth, ranks: Sequence[int] = (3, 4, 5)) -> Val:
    """Something with channels and space; brought into that form where it is not."""
    fitting = [v for v in g.values if v.kind == "f" and v.rank in ranks]
    if fitting and g.chance(0.8):
        return g.pick(fitting)
    x = g.floats()
    rank = g.pick(ranks)
    dims = factors(g, x.array.size)
    while len(dims) > rank:
        dims[0:2] = [dims[0] * dims[1]]
    while len(dims) < rank:
        dims.insert(g.integer(0, len(dims)), 1)
    return g.op("Reshape", x, g.ints(*dims))


def _window(g: Growth, x: Val, *, dilated: bool = True) -> dict[str, Any]:
    n = x.rank - 2
    attrs: dict[str, Any] = {"kernel_shape": [g.integer(1, 3) for _ in range(n)]}
    if g.chance(0.6):
        attrs["strides"] = [g.integer(1, 3) for _ in range(n)]
    if dilated and g.chance(0.3):
        attrs["dilations"] = [g.integer(1, 2) for _ in range(n)]
    if g.chance(0.6):
        attrs["pads"] = [g.integer(0, k - 1) for k in attrs["kernel_shape"] * 2]
    elif g.chance(0.5):
        attrs["auto_pad"] = g.pick(["SAME_UPPER", "SAME_LOWER", "VALID"])
    return attrs


def conv(g: Growth) -> None:
    x = _spatial(g)
    attrs = _window(g, x)
    c = x.shape[1]
    groups = g.pick([1, 1, *[d for d in range(1, c + 1) if c % d == 0], c])
    out = groups * g.integer(1, max(1, 6 // groups))
    weight = g.normal(out, c // groups, *attrs["kernel_shape"], scale=0.4)
    bias = [g.const(g.normal(out))] if g.chance(0.6) else []
    g.op("Conv", x, g.const(weight), *bias, group=groups, **attrs)


def conv_transpose(g: Growth) -> None:
    x = _spatial(g)
    attrs = _window(g, x)
    if attrs.get("auto_pad") == "VALID":
        del attrs["auto_pad"]
    c = x.shape[1]
    groups = g.pick([1, 1, 1, *[d for d in range(1, c + 1) if c % d == 0]])
    weight = g.normal(c, g.integer(1, 3), *attrs["kernel_shape"], scale=0.4)
    bias = [g.const(g.normal(weight.shape[1] * groups))] if g.chance(0.6) else []
    if g.chance(0.3) and "strides" in attrs:
        attrs["output_padding"] = [g.integer(0, s - 1) for s in attrs["strides"]]
    g.op("ConvTranspose", x, g.const(weight), *bias, group=groups, **attrs)


def max_pool(g: Growth) -> None:
    x = _spatial(g)
    attrs = _window(g, x)
    if "auto_pad" not in attrs and g.chance(0.3):
        attrs["ceil_mode"] = 1
    _fits(x, attrs)
    if g.chance(0.15):
        take(len(np.unique(x.array)) == x.array.size)
        distinct(Val("", x.array.reshape(-1)), 0)
        g.op("MaxPool", x, outputs=2, keep=g.pick([(0, 1), (1,)]), **attrs)
    else:
        g.op("MaxPool", x, **attrs)


def _fits(x: Val, attrs: dict[str, Any]) -> None:
    """ONNX gives no size to a window that is larger than what it reads."""
    ones = [1] * (x.rank - 2)
    pads = np.array(attrs.get("pads", [0, 0] * len(ones))).reshape(2, -1).sum(0)
    reach = (np.array(attrs["kernel_shape"]) - 1) * attrs.get("dilations", ones) + 1
    take(bool((reach <= np.array(x.shape[2:]) + pads).all()))


def average_pool(g: Growth) -> None:
    x = _spatial(g)
    attrs = _window(g, x, dilated=g.opset >= 19 and g.chance(0.3))
    if "auto_pad" not in attrs and g.chance(0.3):
        attrs["ceil_mode"] = 1
    _fits(x, attrs)
    g.op("AveragePool", x, count_include_pad=g.integer(0, 1), **attrs)


def lp_pool(g: Growth) -> None:
    x = _spatial(g)
    attrs = _window(g, x, dilated=False)
    _fits(x, attrs)
    g.op("LpPool", x, p=g.pick([1, 2]), **attrs)


def global_pool(g: Growth) -> None:
    g.op(g.pick(["GlobalAveragePool", "GlobalMaxPool"]), _spatial(g))


def gemm(g: Growth) -> None:
    x = g.floats([2])
    ta, tb = g.integer(0, 1), g.integer(0, 1)
    k = x.shape[0] if ta else x.shape[1]
    m = x.shape[1] if ta else x.shape[0]
    fitting = [
        v for v in g.values if v.kind == "f" and v.rank == 2 and v.shape[1 if tb else 0] == k
    ]
    if fitting and g.chance(0.3):
        w = g.pick(fitting)
    else:
        n = g.integer(1, 6)
        w = g.const(g.normal(*((n, k) if tb else (k, n)), scale=0.4))
    n = w.shape[0 if tb else 1]
    bias = (
        []
        if g.chance(0.3)
        else [g.const(g.normal(*g.pick([(), (n,), (1, n), (m, 1), (m, n), (1,)])))]
    )
    g.op(
        "Gemm", x, w, *bias, transA=ta, transB=tb, alpha=g.pick([1.0, 0.5]), beta=g.pick([1.0, 2.0])
    )


def matmul(g: Growth) -> None:
    x = g.value(lambda v: v.kind == "f" and v.rank >= 1)
    left = g.chance(0.7)
    k = x.shape[-1] if left or x.rank == 1 else x.shape[-2]
    n = g.integer(1, 6)
    lead = [1 if g.chance(0.5) else d for d in x.shape[:-2]][g.integer(0, max(x.rank - 2, 0)) :]
    lead = lead if g.chance(0.5) else []
    shape = g.pick([(*lead, k, n), (k,)]) if left else g.pick([(*lead, n, k), (k,)])
    w = g.const(g.normal(*shape, scale=0.5))
    g.op("MatMul", *((x, w) if left else (w, x)))


def matmul_values(g: Growth) -> None:
    x = g.value(lambda v: v.kind == "f" and v.rank >= 1)

    def goes(v: Val) -> bool:
        try:
            return v.kind == "f" and v.rank >= 1 and np.matmul(x.array, v.array).size > 0
        except ValueError:
            return False

    g.op("MatMul", x, g.value(goes))


def self_product(g: Growth) -> None:
    x = g.value(lambda v: v.kind == "f" and v.rank >= 2)
    perm = [*range(x.rank - 2), x.rank - 1, x.rank - 2]
    g.op("MatMul", *ordered(g, x, g.op("Transpose", x, perm=perm)))


def einsum(g: Growth) -> None:
    x = g.value(lambda v: v.kind == "f" and 1 <= v.rank <= 4)
    letters = "abcd"[: x.rank]
    shared = [c for c in letters if g.chance(0.6)]
    other = [*shared, *(["x"] if g.chance(0.6) else [])]
    other = [other[i] for i in g.random.permutation(len(other))]
    take(len(other) > 0)
    size = dict(zip(letters, x.shape, strict=True)) | {"x": g.integer(1, 4)}
    w = g.const(g.normal(*[size[c] for c in other], scale=0.5))
    result = [c for c in dict.fromkeys([*letters, *other]) if g.chance(0.6)]
    result = [result[i] for i in g.random.permutation(len(result))]
    left, right, out = letters, "".join(other), "".join(result)
    operands = (x, w)
    if g.chance(0.4):
        left, right, operands = right, left, (w, x)
    g.op("Einsum", *operands, equation=f"{left},{right}->{out}")


def einsum_one(g: Growth) -> None:
    x = g.value(lambda v: v.kind == "f" and 1 <= v.rank <= 4)
    letters = "abcd"[: x.rank]
    result = [c for c in letters if g.chance(0.7)]
    result = [result[i] for i in g.random.permutation(len(result))]
    g.op("Einsum", x, equation=f"{letters}->{''.join(result)}")


def recurrent(g: Growth) -> None:
    x = g.floats([3])
    kind, gates = g.pick([("LSTM", 4), ("GRU", 3), ("RNN", 1)])
    direction = g.pick(["forward", "reverse", "bidirectional"])
    d, h, n = 2 if direction == "bidirectional" else 1, g.integer(1, 3), x.shape[2]
    w = g.const(g.normal(d, gates * h, n, scale=0.4))
    r = g.const(g.normal(d, gates * h, h, scale=0.4))
    b = g.const(g.normal(d, 2 * gates * h, scale=0.4)) if g.chance(0.6) else None
    keep = g.pick([(0,), (1,), (0, 1)])
    extra = {"linear_before_reset": g.integer(0, 1)} if kind == "GRU" else {}
    g.op(
        kind,
        x,
        w,
        r,
        *([b] if b else []),
        outputs=2,
        keep=keep,
        hidden_size=h,
        direction=direction,
        **extra,
    )


def resize(g: Growth) -> None:
    x = g.floats([3, 4])
    mode = g.pick(["nearest", "linear", "cubic"])
    how = g.pick(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
    n = x.rank - 2
    attrs: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": how}
    if mode == "nearest":
        attrs["nearest_mode"] = g.pick(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
    if g.chance(0.5):
        scales = g.const(np.array([1, 1, *[g.pick([0.5, 1, 2, 3]) for _ in range(n)]], np.float32))
        g.op("Resize", x, None, scales, **attrs)
    else:
        sizes = g.ints(*x.shape[:2], *[g.integer(1, 8) for _ in range(n)])
        g.op("Resize", x, None, None, sizes, **attrs)


def grid_sample(g: Growth) -> None:
    x = g.floats([4])
    grid = g.const(
        np.clip(g.normal(x.shape[0], g.integer(1, 4), g.integer(1, 4), 2, scale=0.6), -1.4, 1.4)
    )
    g.op(
        "GridSample",
        x,
        grid,
        mode="linear" if g.opset >= 20 else "bilinear",
        padding_mode=g.pick(["zeros", "border", "reflection"]),
        align_corners=g.integer(0, 1),
    )
