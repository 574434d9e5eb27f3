"""GELU in the spellings that exporters use, with Erf and with Tanh."""

from __future__ import annotations

import numpy as np
import pytest

NAME = "fuse-gelu"
CONSTANTS = {
    "root": np.float32(2**0.5),
    "inverse": np.float32(0.5**0.5),
    "one": np.float32(1),
    "half": np.float32(0.5),
    "two": np.float32(2),
    "three": np.float32(3),
    "cubic": np.float32(0.044715),
    "slope": np.float32((2 / np.pi) ** 0.5),
}
ERF = "d = Div (x, root)\n e = Erf (d)\n a = Add (e, one)\n "
INVERSE = "i = Mul (inverse, x)\n e = Erf (i)\n a = Add (one, e)\n "
TANH = "q = Mul (c, cubic)\n s = Add (x, q)\n u = Mul (s, slope)\n t = Tanh (u)\n "
LAST = "a = Add (one, t)\n h = Mul (x, half)\n y = Mul (h, a)"


def graph(body: str) -> str:
    return f"g (float[n, 30] x) => (float[n, 30] y) {{ {body} }}"


@pytest.mark.parametrize(
    "body",
    [
        ERF + "p = Mul (x, a)\n y = Mul (p, half)",
        ERF + "p = Mul (a, x)\n y = Div (p, two)",
        ERF + "h = Mul (half, x)\n y = Mul (h, a)",
        ERF + "h = Div (x, two)\n y = Mul (a, h)",
        ERF + "p = Mul (half, a)\n y = Mul (x, p)",
        INVERSE + "h = Div (x, two)\n y = Mul (h, a)",
        f"c = Pow (x, three)\n {TANH}{LAST}",
        f"w = Mul (x, x)\n c = Mul (w, x)\n {TANH}{LAST}",
        f"w = Pow (x, two)\n c = Mul (x, w)\n {TANH}{LAST}",
        # transformers' gelu_fast: sqrt(2 / pi) x (1 + 0.044715 x x)
        f"r = Mul (x, slope)\n v = Mul (x, cubic)\n w = Mul (v, x)\n s = Add (w, one)\n "
        f"u = Mul (r, s)\n t = Tanh (u)\n {LAST}",
    ],
)
def test_spellings(parse, rewrite, body):
    result = rewrite(parse(graph(body), **CONSTANTS), NAME)
    assert result.ops == {"Gelu": 1}


@pytest.mark.parametrize(
    "body",
    [
        "d = Div (x, two)\n e = Erf (d)\n a = Add (e, one)\n p = Mul (x, a)\n y = Mul (p, half)",
        ERF + "p = Mul (x, a)\n y = Mul (p, two)",
        ERF + "p = Mul (x, a)\n y = Add (p, half)",
        ERF + "p = Mul (d, a)\n y = Mul (p, half)",
        ERF + "p = Mul (x, a)\n k = Mul (p, half)\n y = Add (k, e)",
        f"c = Pow (x, two)\n {TANH}{LAST}",
        f"w = Mul (x, half)\n c = Mul (w, x)\n {TANH}{LAST}",
    ],
    ids=["scale", "factor", "sum", "other x", "erf read twice", "square", "no cube"],
)
def test_what_is_no_gelu_stays(parse, rewrite, body):
    result = rewrite(parse(graph(body), **CONSTANTS), NAME)
    assert "Gelu" not in result.ops
