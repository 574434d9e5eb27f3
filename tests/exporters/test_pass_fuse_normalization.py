"""Layer and root-mean-square normalization in the spellings that exporters use."""

from __future__ import annotations

import numpy as np
import pytest

NAME = "fuse-normalization"
CONSTANTS = {
    "last": np.array([-1]),
    "two": np.float32(2),
    "one": np.float32(1),
    "epsilon": np.float32(1e-3),
    "scale": np.linspace(0.5, 2, 8, dtype=np.float32),
    "bias": np.linspace(-1, 1, 8, dtype=np.float32).reshape(1, 1, 8),
}
CENTRED = "m = ReduceMean (x, last)\n d = Sub (x, m)\n "
SQUARES = ["q = Pow ({0}, two)\n ", "q = Mul ({0}, {0})\n "]
ROOT = "v = ReduceMean (q, last)\n e = Add (v, epsilon)\n r = Sqrt (e)\n "
QUOTIENTS = [
    "n = Div ({0}, r)\n ",
    "i = Reciprocal (r)\n n = Mul ({0}, i)\n ",
    "i = Div (one, r)\n n = Mul (i, {0})\n ",
]
ENDS = {
    "plain": "y = Identity (n)",
    "scaled": "y = Mul (scale, n)",
    "shifted": "y = Add (n, bias)",
    "both": "s = Mul (n, scale)\n y = Add (s, bias)",
}


def graph(body: str, shape: str = "2, 3, 8") -> str:
    return f"g (float[{shape}] x) => (float[{shape}] y) {{ {body} }}"


@pytest.mark.parametrize("square", SQUARES)
@pytest.mark.parametrize("quotient", QUOTIENTS)
@pytest.mark.parametrize("end", ENDS)
def test_layer_normalization(parse, rewrite, square, quotient, end):
    body = CENTRED + square.format("d") + ROOT + quotient.format("d") + ENDS[end]
    result = rewrite(parse(graph(body), **CONSTANTS), NAME, tolerance=1e-5)
    assert result.ops == {"LayerNormalization": 1}


@pytest.mark.parametrize("end", ["plain", "scaled"])
def test_root_mean_square_normalization_where_the_opset_has_it(parse, rewrite, end):
    body = SQUARES[0].format("x") + ROOT + QUOTIENTS[1].format("x") + ENDS[end]
    new = rewrite(parse(graph(body), opset=23, **CONSTANTS), NAME, tolerance=1e-5)
    assert new.ops == {"RMSNormalization": 1}
    old = rewrite(parse(graph(body), **CONSTANTS), NAME)
    assert not old.modified
    assert "operator of opset 23" in old.declined[0].reason


def test_the_difference_may_be_written_twice(parse, rewrite):
    body = CENTRED + "c = Sub (x, m)\n " + SQUARES[0].format("c") + ROOT
    body += QUOTIENTS[0].format("d") + ENDS["both"]
    result = rewrite(parse(graph(body), **CONSTANTS), NAME, tolerance=1e-5)
    assert result.ops == {"LayerNormalization": 1}


def test_a_mean_that_is_read_elsewhere_stays(parse, rewrite):
    body = CENTRED + SQUARES[0].format("d") + ROOT + QUOTIENTS[0].format("d") + "y = Add (n, m)"
    result = rewrite(parse(graph(body), **CONSTANTS), NAME, tolerance=1e-5)
    assert result.ops == {"ReduceMean": 1, "LayerNormalization": 1, "Add": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"last": np.array([1])},  # not a last axis
        {"two": np.float32(3)},
        {"epsilon": np.full(3, 1e-3, np.float32).reshape(1, 3, 1)},
    ],
)
def test_others_stay(parse, rewrite, changes):
    body = CENTRED + SQUARES[0].format("d") + ROOT + QUOTIENTS[0].format("d") + ENDS["plain"]
    model = parse(graph(body), **(CONSTANTS | changes))
    if changes.get("two") is not None:  # a root of negative numbers
        from edgewise.exporters.passes import PASSES
        from edgewise.graph import prepare

        assert not PASSES[NAME](prepare(model)).modified
        return
    assert not rewrite(model, NAME).modified


def test_a_scale_along_other_axes_is_left_outside(parse, rewrite):
    body = CENTRED + SQUARES[0].format("d") + ROOT + QUOTIENTS[0].format("d") + ENDS["scaled"]
    scale = np.arange(3, dtype=np.float32).reshape(3, 1)
    result = rewrite(parse(graph(body), **(CONSTANTS | {"scale": scale})), NAME, tolerance=1e-5)
    assert result.ops == {"LayerNormalization": 1, "Mul": 1}


MULTIPLIED = CENTRED + SQUARES[1].format("d") + ROOT + "i = Reciprocal (r)\n "
KERAS = [
    "g = Mul (i, scale)\n k = Neg (m)\n p = Mul (k, g)\n b = Add (p, bias)\n "
    "f = Mul (x, g)\n y = Add (f, b)",
    "g = Mul (scale, i)\n p = Mul (g, m)\n b = Sub (bias, p)\n f = Mul (g, x)\n y = Add (b, f)",
    "p = Mul (m, i)\n k = Neg (p)\n f = Mul (x, i)\n y = Add (f, k)",
    "k = Neg (m)\n p = Mul (k, i)\n f = Mul (x, i)\n y = Add (f, p)",
    "g = Mul (i, scale)\n p = Mul (m, g)\n f = Mul (x, g)\n y = Sub (f, p)",
]


@pytest.mark.parametrize("end", KERAS)
def test_products_multiplied_out(parse, rewrite, end):
    """`x g + (bias - mean g)`, as tf2onnx writes what Keras computes."""
    result = rewrite(parse(graph(MULTIPLIED + end), **CONSTANTS), NAME, tolerance=1e-5)
    assert result.ops == {"LayerNormalization": 1}


@pytest.mark.parametrize(
    "end",
    [
        "p = Mul (m, i)\n f = Mul (x, i)\n y = Add (f, p)",
        "p = Mul (m, i)\n f = Mul (x, i)\n y = Sub (p, f)",
        "p = Mul (m, i)\n b = Sub (p, bias)\n f = Mul (x, i)\n y = Add (f, b)",
    ],
    ids=["plus the mean", "the other way round", "minus the bias"],
)
def test_other_products_stay(parse, rewrite, end):
    result = rewrite(parse(graph(MULTIPLIED + end), **CONSTANTS), NAME)
    assert not result.modified
