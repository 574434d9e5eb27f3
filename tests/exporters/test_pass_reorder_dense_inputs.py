"""Transposes in front of flattened features."""

from __future__ import annotations

import numpy as np
import pytest

NAME = "reorder-dense-inputs"
RANDOM = np.random.default_rng(0)
W = RANDOM.standard_normal((24, 5)).astype(np.float32)
SHAPE = np.array([0, 24])


def model(parse, before="", between="", last="out = MatMul (f, w)", **constants):
    return parse(
        f"""g (float[n, 4, 2, 3] x) => (float[n, 5] out) {{
          s = Sin (x)
          y = Transpose <perm: ints = [0, 2, 3, 1]> (s)
          {before or "z = Identity (y)"}
          r = Reshape (z, shape)
          {between or "f = Identity (r)"}
          {last} }}""",
        **{"w": W, "shape": SHAPE, **constants},
    )


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"before": "z = Relu (y)"},
        {"before": "a = Mul (y, k)\n z = Relu (a)", "k": np.arange(4, dtype=np.float32)},
        {"between": "f = Relu (r)"},
        {"between": "f = Add (k, r)", "k": np.arange(24, dtype=np.float32)},
        {"between": "a = Sub (r, k)\n f = Mul (a, c)",
         "k": np.arange(24, dtype=np.float32)[None], "c": np.float32(3)},
        {"last": "out = Gemm (f, w, b)", "b": np.ones(5, np.float32)},
        {"last": "out = Gemm <transB = 1> (f, w)", "w": np.ascontiguousarray(W.T)},
        {"shape": np.array([-1, 24])},
    ],
)  # fmt: skip
def test_the_weights_change_places(parse, rewrite, parts):
    assert "Transpose" not in rewrite(model(parse, **parts), NAME).ops


@pytest.mark.parametrize(
    "parts",
    [
        {"between": "f = Softmax (r)"},
        {"shape": np.array([0, 12, 2]), "w": W[:2], "between": "f = ReduceMax <keepdims=0> (r, a)",
         "a": np.array([1])},
    ],
)  # fmt: skip
def test_what_depends_on_the_order_of_features(parse, rewrite, parts):
    result = rewrite(model(parse, **parts), NAME)
    assert result.ops["Transpose"] == 1


def test_features_that_others_read(parse, rewrite):
    text = """g (float[n, 4, 2, 3] x) => (float[n, 5] out, float[n, 24] r) {
      y = Transpose <perm: ints = [0, 2, 3, 1]> (x)
      r = Reshape (y, shape)
      out = MatMul (r, w) }"""
    assert not rewrite(parse(text, w=W, shape=SHAPE), NAME).modified
