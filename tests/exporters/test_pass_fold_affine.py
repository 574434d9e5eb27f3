"""Sums and products with constants behind layers."""

from __future__ import annotations

import numpy as np
import pytest

NAME = "fold-affine"
RNG = np.random.default_rng(0)
CONV = {
    "w": RNG.standard_normal((4, 3, 3, 3), np.float32),
    "b": RNG.standard_normal(4, np.float32),
    "vector": RNG.standard_normal((4, 1, 1), np.float32) + 3,
    "last": RNG.standard_normal(4, np.float32) + 3,
    "two": np.float32(2),
    "plane": RNG.standard_normal((6, 6), np.float32),
    "gap": np.float32([[[1]], [[0]], [[2]], [[3]]]),
}
X = "g (float[n, 3, 8, 8] x) => (float[n, 4, 6, 6] y)"


@pytest.mark.parametrize(
    "body",
    [
        "c = Conv (x, w)\n y = Add (c, vector)",
        "c = Conv (x, w, b)\n y = Add (vector, c)",
        "c = Conv (x, w, b)\n y = Sub (c, vector)",
        "c = Conv (x, w, b)\n y = Sub (vector, c)",
        "c = Conv (x, w, b)\n y = Mul (c, vector)",
        "c = Conv (x, w)\n y = Div (c, vector)",
        "c = Conv (x, w)\n y = Div (c, two)",
        "c = Conv (x, w)\n s = Sub (c, vector)\n m = Mul (two, s)\n y = Add (m, vector)",
    ],
)
def test_behind_a_convolution(parse, rewrite, body):
    result = rewrite(parse(f"{X} {{ {body} }}", **CONV), NAME, tolerance=1e-5)
    assert result.ops == {"Conv": 1}


def test_across_transposes(parse, rewrite):
    """Channels last, as tf2onnx leaves them."""
    text = """g (float[n, 3, 8, 8] x) => (float[n, 6, 6, 4] y) {
        c = Conv (x, w, b)
        t = Transpose <perm = [0, 2, 3, 1]> (c)
        m = Mul (t, last)
        y = Add (m, last)
    }"""
    result = rewrite(parse(text, **CONV), NAME, tolerance=1e-5)
    assert result.ops == {"Conv": 1, "Transpose": 1}


def test_transposed_convolution_with_groups(parse, rewrite):
    text = """g (float[n, 4, 5, 5] x) => (float[n, 6, 7, 7] y) {
        c = ConvTranspose <group = 2> (x, k)
        m = Mul (c, s)
        y = Add (m, s)
    }"""
    constants = {
        "k": RNG.standard_normal((4, 3, 3, 3), np.float32),
        "s": RNG.standard_normal((1, 6, 1, 1), np.float32),
    }
    assert rewrite(parse(text, **constants), NAME, tolerance=1e-5).ops == {"ConvTranspose": 1}


@pytest.mark.parametrize("turned", [0, 1])
def test_gemm_with_factors(parse, rewrite, turned):
    text = f"""g (float[n, 5] x) => (float[n, 4] y) {{
        c = Gemm <alpha = 0.5, beta = 2.0, transB = {turned}> (x, w, b)
        m = Mul (c, last)
        y = Sub (m, last)
    }}"""
    weight = RNG.standard_normal((4, 5) if turned else (5, 4), np.float32)
    result = rewrite(parse(text, **{**CONV, "w": weight}), NAME, tolerance=1e-5)
    assert result.ops == {"Gemm": 1}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("c = Conv (x, w)\n a = Add (c, vector)\n y = Add (a, c)", "'c' is used elsewhere too"),
        ("c = Conv (x, w)\n y = Mul (c, gap)", "zeros"),
    ],
)
def test_declined(parse, rewrite, body, reason):
    result = rewrite(parse(f"{X} {{ {body} }}", **CONV), NAME)
    assert not result.modified
    assert reason in result.declined[0].reason


@pytest.mark.parametrize(
    "body",
    [
        "c = Conv (x, w)\n y = Add (c, plane)",
        "c = Conv (x, w)\n r = Relu (c)\n y = Add (r, vector)",
        "c = Conv (x, w)\n y = Div (two, c)",
    ],
    ids=["varies in space", "not behind the layer", "divided by it"],
)
def test_what_is_no_affine_layer(parse, rewrite, body):
    result = rewrite(parse(f"{X} {{ {body} }}", **CONV), NAME)
    assert not result.modified
    assert not result.declined


def test_a_constant_that_makes_the_result_larger_stays(parse, rewrite):
    text = """g (float[1, 3, 8, 8] x) => (float[2, 4, 6, 6] y) {
        c = Conv (x, w)
        y = Add (c, more)
    }"""
    more = {**CONV, "more": np.ones((2, 4, 1, 1), np.float32)}
    assert not rewrite(parse(text, **more), NAME).modified


ALONE = {**CONV, "each": RNG.standard_normal((4, 1, 1, 1), np.float32) + 3}


@pytest.mark.parametrize("inputs", ["c, each", "c, each, last"])
def test_a_convolution_of_single_channels_and_places(parse, rewrite, inputs):
    """What a BatchNormalization became while something stood before it."""
    text = f"{X} {{ c = Conv (x, w, b)\n y = Conv <group = 4> ({inputs}) }}"
    assert rewrite(parse(text, **ALONE), NAME, tolerance=1e-5).ops == {"Conv": 1}


@pytest.mark.parametrize(
    "attributes",
    ["strides = [2, 2]", "pads = [1, 1, 1, 1]", 'auto_pad = "SAME_UPPER", strides = [2, 2]'],
)
def test_one_that_moves_stays(parse, rewrite, attributes):
    text = f"""g (float[n, 3, 8, 8] x) => (float[n, 4, h, v] y) {{
        c = Conv (x, w, b)
        y = Conv <group = 4, {attributes}> (c, each)
    }}"""
    assert rewrite(parse(text, **ALONE), NAME).ops == {"Conv": 2}
