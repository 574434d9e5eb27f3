"""A product and a sum per channel as one layer."""

from __future__ import annotations

import numpy as np
import pytest

NAME = "fuse-affine"
S = np.random.default_rng(0).standard_normal((4, 1, 1), np.float32)
CONSTANTS = {
    "s": S, "t": S[None] + 1, "zeros": S * np.float32([[[1]], [[0]], [[1]], [[1]]]),
    "last": S.reshape(4), "two": np.float32(2),
}  # fmt: skip


def graph(body: str) -> str:
    return f"g (float[n, 4, 5, 4] x) => (float[n, 4, 5, 4] y) {{ {body} }}"


@pytest.mark.parametrize(
    "body", ["p = Mul (x, s)\n y = Add (p, t)", "p = Mul (s, x)\n y = Add (t, p)"]
)
def test_fused(parse, rewrite, body):
    result = rewrite(parse(graph(f"[norm] {body}"), **CONSTANTS), NAME)
    (node,) = result.model.graph
    assert (node.op_type, node.name, node.outputs[0].name) == ("Conv", "norm", "y")
    assert node.attributes["group"].value == 4


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("p = Mul (x, zeros)\n y = Add (p, t)", "a factor is 0"),
        ("p = Mul (x, s)\n q = Add (p, t)\n y = Add (q, p)", "used elsewhere"),
    ],
)
def test_declined(parse, rewrite, body, reason):
    result = rewrite(parse(graph(body), **CONSTANTS), NAME)
    assert not result.modified
    assert reason in result.declined[0].reason


@pytest.mark.parametrize(
    "body",
    [
        "p = Mul (x, last)\n y = Add (p, last)",
        "p = Mul (x, two)\n y = Add (p, two)",
        "p = Mul (x, s)\n y = Add (p, x)",
        "p = Mul (x, s)\n y = Sub (t, p)",
    ],
    ids=["last axis", "numbers", "computed", "difference"],
)
def test_what_is_no_layer(parse, rewrite, body):
    result = rewrite(parse(graph(body), **CONSTANTS), NAME)
    assert not result.modified
    assert not result.declined
