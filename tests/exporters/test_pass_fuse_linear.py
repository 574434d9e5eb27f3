"""MatMul and Add as Gemm."""

from __future__ import annotations

import numpy as np
import pytest

NAME = "fuse-linear"
W = np.random.default_rng(0).standard_normal((5, 4), np.float32)
CONSTANTS = {
    "w": W, "b": W[0], "row": W[:1], "one": np.float32(1), "column": W[:, :1],
    "wide": np.ones((1, 1, 4), np.float32),
}  # fmt: skip
BODY = "[fc] p = MatMul (x, w)\n [bias] y = Add"


def graph(body: str, x: str = "n, 5", y: str = "n, 4") -> str:
    return f"g (float[{x}] x) => (float[{y}] y) {{ {body} }}"


@pytest.mark.parametrize("operands", ["(p, b)", "(b, p)", "(p, row)", "(p, one)"])
def test_fused(parse, rewrite, operands):
    result = rewrite(parse(graph(f"{BODY} {operands}"), **CONSTANTS), NAME)
    node = next(iter(result.model.graph))
    assert (node.op_type, node.name, node.outputs[0].name) == ("Gemm", "fc", "y")


@pytest.mark.parametrize(
    ("x", "y", "operands"),
    [("5, 5", "5, 4", "(p, column)"), ("n, 5", "1, n, 4", "(p, wide)")],
)
def test_other_sums(parse, rewrite, x, y, operands):
    assert not rewrite(parse(graph(f"{BODY} {operands}", x, y), **CONSTANTS), NAME).modified


def test_more_axes_stay(parse, rewrite):
    model = parse(graph(f"{BODY} (p, b)", "n, 3, 5", "n, 3, 4"), **CONSTANTS)
    assert not rewrite(model, NAME).modified


def test_a_product_that_is_read_elsewhere_stays(parse, rewrite):
    body = "p = MatMul (x, w)\n a = Add (p, b)\n y = Mul (a, p)"
    result = rewrite(parse(graph(body), **CONSTANTS), NAME)
    assert "used elsewhere" in result.declined[0].reason
