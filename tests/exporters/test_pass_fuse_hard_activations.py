"""HardSigmoid and HardSwish in the spellings that exporters use."""

from __future__ import annotations

import numpy as np
import pytest

NAME = "fuse-hard-activations"
CONSTANTS = {
    "three": np.float32(3),
    "zero": np.float32(0),
    "six": np.float32(6),
    "sixth": np.float32(1 / 6),
    "half": np.float32(0.5),
    "one": np.float32(1),
}
CLIP = "a = Add (x, three)\n c = Clip (a, zero, six)\n"


def graph(body: str) -> str:
    return f"g (float[n, 30] x) => (float[n, 30] y) {{ {body} }}"


@pytest.mark.parametrize("last", ["Div (c, six)", "Mul (c, sixth)", "Mul (sixth, c)"])
def test_hard_sigmoid(parse, rewrite, last):
    assert rewrite(parse(graph(f"{CLIP} y = {last}"), **CONSTANTS), NAME).ops == {"HardSigmoid": 1}


@pytest.mark.parametrize(
    "body",
    [
        f"{CLIP} p = Mul (x, c)\n y = Div (p, six)",
        f"{CLIP} p = Mul (c, x)\n y = Mul (p, sixth)",
        f"{CLIP} s = Div (c, six)\n y = Mul (x, s)",
        f"{CLIP} s = Mul (c, sixth)\n y = Mul (s, x)",
        f"{CLIP} p = Div (x, six)\n y = Mul (c, p)",
        f"{CLIP} p = Mul (x, sixth)\n y = Mul (p, c)",
        "p = Div (x, six)\n a = Add (p, half)\n c = Clip (a, zero, one)\n y = Mul (x, c)",
        "p = Mul (sixth, x)\n a = Add (half, p)\n c = Clip (a, zero, one)\n y = Mul (c, x)",
        "a = Add (three, x)\n c = Clip (a, zero, six)\n s = Div (c, six)\n y = Mul (x, s)",
        "s = HardSigmoid <alpha: float = 0.16666667, beta: float = 0.5> (x)\n y = Mul (x, s)",
    ],
)
def test_hard_swish(parse, rewrite, body):
    assert rewrite(parse(graph(body), **CONSTANTS), NAME).ops == {"HardSwish": 1}


@pytest.mark.parametrize(
    "body",
    [
        "a = Add (x, six)\n c = Clip (a, zero, six)\n y = Div (c, six)",
        "a = Add (x, three)\n c = Clip (a, zero, three)\n y = Div (c, six)",
        f"{CLIP} y = Div (six, c)",
        f"{CLIP} p = Div (x, three)\n y = Mul (c, p)",
        "p = Div (x, three)\n a = Add (p, half)\n c = Clip (a, zero, one)\n y = Mul (x, c)",
        f"{CLIP} y = Div (c, three)",
        "s = HardSigmoid <alpha: float = 0.2, beta: float = 0.5> (x)\n y = Mul (x, s)",
        "s = HardSigmoid <alpha: float = 0.16666667> (x)\n q = Sin (x)\n y = Mul (q, s)",
    ],
)
def test_lookalikes_are_kept(parse, rewrite, body):
    constants = dict(CONSTANTS)
    model = parse(graph(body), **constants)
    result = rewrite(model, NAME)
    assert not result.modified


def test_an_intermediate_result_read_elsewhere_is_declined(parse, rewrite):
    model = parse(
        f"""g (float[4] x) => (float[4] y, float[4] c) {{ {CLIP} y = Div (c, six) }}""",
        **CONSTANTS,
    )
    result = rewrite(model, NAME)
    assert not result.modified
    assert "used elsewhere" in result.declined[0].reason
