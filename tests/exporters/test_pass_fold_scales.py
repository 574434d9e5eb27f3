"""Products with constants disappear into the linear layers before them."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.exporters import export
from edgewise.exporters.quiet import quiet
from edgewise.graph import constant

with quiet():
    torch = pytest.importorskip("torch")
    from torch import nn
    from torch.nn import functional as F

NAME = "fold-scales"
RANDOM = np.random.default_rng(3)
CONSTANTS = {
    "w": RANDOM.normal(0, 1, (6, 12)).astype(np.float32),
    "v": RANDOM.normal(0, 1, (6, 12)).astype(np.float32),
    "turned": RANDOM.normal(0, 1, (12, 6)).astype(np.float32),
    "b": RANDOM.normal(0, 1, 12).astype(np.float32),
    "kernel": RANDOM.normal(0, 1, (4, 5, 3)).astype(np.float32),
    "eight": np.float32(8),
    "quarter": np.array([0.25], np.float32),
    "gains": RANDOM.uniform(0.5, 2, 12).astype(np.float32),
    "channels": RANDOM.uniform(0.5, 2, (4, 1)).astype(np.float32),
    "heads": np.array([2, 5, 3, 4]),
}


def graph(body: str, outputs: str = "float[2, 5, 12] y") -> str:
    return f"g (float[2, 5, 6] x) => ({outputs}) {{ {body} }}"


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        ("p = MatMul (x, w)\n y = Mul (p, eight)", "float[2, 5, 12] y"),
        ("p = MatMul (x, w)\n a = Add (b, p)\n y = Div (a, eight)", "float[2, 5, 12] y"),
        ("p = MatMul (x, w)\n a = Add (p, quarter)\n y = Mul (gains, a)", "float[2, 5, 12] y"),
        (
            "p = MatMul (x, w)\n r = Reshape (p, heads)\n"
            "t = Transpose <perm = [0, 2, 1, 3]> (r)\n y = Mul (quarter, t)",
            "float[2, 3, 5, 4] y",
        ),
        (
            "f = Flatten <axis = 2> (x)\n"
            "p = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (f, turned, b)\n y = Mul (p, eight)",
            "float[10, 12] y",
        ),
        (
            "f = Flatten <axis = 2> (x)\n p = Gemm <transB = 1> (f, turned, b)\ny = Mul (p, gains)",
            "float[10, 12] y",
        ),
        (
            "p = Conv (x, kernel)\n y = Mul (p, channels)",
            "float[2, 4, 4] y",
        ),
    ],
    ids=["number", "bias", "columns", "heads", "gemm", "gemm columns", "channels"],
)
def test_layers_take_the_factor(parse, rewrite, body, outputs):
    result = rewrite(parse(graph(body, outputs), **CONSTANTS), NAME, tolerance=1e-5)
    assert not {"Mul", "Div"} & set(result.ops)


PROJECTIONS = "q = MatMul (x, w)\n k = MatMul (x, v)\n "


@pytest.mark.parametrize(
    "body",
    [
        PROJECTIONS + "m = Mul (q, eight)\n t = Transpose <perm = [0, 2, 1]> (k)\n"
        "y = MatMul (m, t)",
        PROJECTIONS + "t = Transpose <perm = [0, 2, 1]> (k)\n s = MatMul (q, t)\n"
        "y = Div (s, eight)",
    ],
    ids=["query", "scores"],
)
def test_attention(parse, rewrite, body):
    text = graph(body, "float[2, 5, 5] y")
    result = rewrite(parse(text, **CONSTANTS), NAME, tolerance=1e-5)
    assert not {"Mul", "Div"} & set(result.ops)


def test_a_factor_moves_to_the_other_matrix(parse, rewrite):
    """Nothing before the keys absorbs it: they come from outside."""
    body = "q = MatMul (x, w)\n m = Mul (k, quarter)\n y = MatMul (q, m)"
    text = f"g (float[2, 5, 6] x, float[2, 12, 7] k) => (float[2, 5, 7] y) {{ {body} }}"
    result = rewrite(parse(text, **CONSTANTS), NAME, tolerance=1e-5)
    assert result.ops == {"MatMul": 2}


@pytest.mark.parametrize("gemm", [False, True])
def test_a_layer_that_is_split_becomes_one_for_each_part(parse, rewrite, gemm):
    layer = "p = MatMul (x, w)\n a = Add (p, b)\n "
    source = "float[2, 5, 6] x"
    if gemm:
        layer, source = "a = Gemm <transB = 1> (x, turned, b)\n ", "float[5, 6] x"
    body = (
        layer + "q, k = Split <axis = -1> (a, sizes)\n m = Mul (q, eight)\n r = Relu (k)\n "
        "y = Concat <axis = -1> (m, r)"
    )
    dims = "5, 12" if gemm else "2, 5, 12"
    text = f"g ({source}) => (float[{dims}] y) {{ {body} }}"
    result = rewrite(parse(text, **CONSTANTS, sizes=np.array([4, 8])), NAME, tolerance=1e-5)
    kept = {"Gemm": 2} if gemm else {"MatMul": 2, "Add": 2}
    assert result.ops == kept | {"Relu": 1, "Concat": 1}


@pytest.mark.parametrize(
    "body",
    [
        "p = MatMul (x, w)\n m = Mul (p, eight)\n y = Add (p, m)",
        "p = MatMul (x, w)\n r = Relu (p)\n y = Mul (r, eight)",
        "p = MatMul (x, w)\n y = Mul (p, zero)",
        "p = MatMul (x, w)\n r = Reshape (p, again)\n y = Mul (r, gains)",
        "p = MatMul (x, w)\n y = Div (eight, p)",
        "p = MatMul (x, w)\n m = Mul (p, eight)\n q = MatMul (x, w)\n y = Add (m, q)",
    ],
    ids=["read twice", "relu", "zero", "columns moved", "divided by", "shared weights"],
)
def test_left_alone(parse, rewrite, body):
    constants = CONSTANTS | {"zero": np.float32(0), "again": np.array([2, 5, 12])}
    assert not rewrite(parse(graph(body), **constants), NAME).modified


def test_a_square_is_not_scaled_twice(parse, rewrite):
    body = "p = MatMul (x, square)\n s = MatMul (p, p)\n y = Mul (s, eight)"
    text = f"g (float[6, 6] x) => (float[6, 6] y) {{ {body} }}"
    square = RANDOM.normal(0, 1, (6, 6)).astype(np.float32)
    assert not rewrite(parse(text, square=square, **CONSTANTS), NAME).modified


class Block(nn.Module):
    """Attention whose query, key and value come from one layer, and a LayerScale behind it."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.qkv = nn.Linear(12, 36) if fused else nn.ModuleList(nn.Linear(12, 12) for _ in "qkv")
        self.out = nn.Linear(12, 12)
        self.gain = nn.Parameter(torch.linspace(0.5, 1.5, 12))

    def forward(self, x):
        parts = self.qkv(x).chunk(3, -1) if self.fused else [layer(x) for layer in self.qkv]
        q, k, v = (part.view(1, 5, 3, 4).transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.gain * self.out(y.transpose(1, 2).reshape(x.shape))


@pytest.mark.parametrize("fused", [False, True])
def test_exported_attention_keeps_no_product_with_a_constant(fused):
    torch.manual_seed(0)
    model = export(Block(fused).eval(), input_shapes={"x": (1, 5, 12)}).model
    for node in model.graph:
        scaled = node.op_type in ("Mul", "Div")
        assert not scaled or not any(constant(value) is not None for value in node.inputs)
    assert not [node for node in model.graph if node.op_type == "Split"]
