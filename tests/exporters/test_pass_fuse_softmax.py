"""Softmax in parts."""

from __future__ import annotations

import numpy as np
import pytest

NAME = "fuse-softmax"
AXES = {"last": np.array([-1]), "first": np.array([1]), "two": np.array([1, 2])}
SHIFTED = "m = ReduceMax (x, last)\n d = Sub (x, m)\n e = Exp (d)\n "
SUM = "s = ReduceSum (e, last)\n "


def graph(body: str) -> str:
    return f"g (float[n, 5, 6] x) => (float[n, 5, 6] y) {{ {body} }}"


@pytest.mark.parametrize(
    ("body", "axis"),
    [
        (f"{SHIFTED}{SUM}y = Div (e, s)", 2),
        (f"{SHIFTED}{SUM}r = Reciprocal (s)\n y = Mul (r, e)", 2),
        ("e = Exp (x)\n s = ReduceSum (e, first)\n y = Div (e, s)", 1),
    ],
)
def test_fused(parse, rewrite, body, axis):
    result = rewrite(parse(graph(body), **AXES), NAME, tolerance=1e-5)
    assert result.ops == {"Softmax": 1}
    assert next(iter(result.model.graph)).attributes["axis"].value == axis


def test_a_shift_along_another_axis_stays(parse, rewrite):
    body = "m = ReduceMax (x, first)\n d = Sub (x, m)\n e = Exp (d)\n "
    result = rewrite(parse(graph(f"{body}{SUM}y = Div (e, s)"), **AXES), NAME, tolerance=1e-5)
    assert result.ops == {"ReduceMax": 1, "Sub": 1, "Softmax": 1}


def test_several_axes_are_declined(parse, rewrite):
    body = "e = Exp (x)\n s = ReduceSum (e, two)\n y = Div (e, s)"
    result = rewrite(parse(graph(body), **AXES), NAME)
    assert "several axes" in result.declined[0].reason


def test_powers_that_are_read_elsewhere_stay(parse, rewrite):
    body = f"{SHIFTED}{SUM}q = Div (e, s)\n y = Add (q, e)"
    result = rewrite(parse(graph(body), **AXES), NAME, tolerance=1e-5)
    assert result.ops == {"ReduceMax": 1, "Sub": 1, "Exp": 1, "Softmax": 1, "Add": 1}


def test_another_sum_stays(parse, rewrite):
    body = "e = Exp (x)\n s = ReduceSum (x, last)\n y = Div (e, s)"
    assert not rewrite(parse(graph(body), **AXES), NAME, tolerance=1e-3).modified
