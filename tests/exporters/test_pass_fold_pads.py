"""Padding of its own before windows."""

from __future__ import annotations

import numpy as np
import pytest

NAME = "fold-pads"
CONSTANTS = {
    "w": np.random.default_rng(0).standard_normal((4, 3, 3, 3), np.float32),
    "p": np.array([0, 0, 1, 0, 0, 0, 2, 1]),
    "ends": np.array([1, 1, 0, 1]),
    "axes": np.array([2, -1]),
    "channels": np.array([0, 1, 0, 0, 0, 0, 0, 0]),
    "cut": np.array([0, 0, -1, 0, 0, 0, 0, 0]),
    "many": np.array([0, 0, 3, 0, 0, 0, 0, 0]),
    "nought": np.float32(0),
    "one": np.float32(1),
    "low": np.float32(-np.inf),
    "six": np.float32(6),
}


def graph(body: str) -> str:
    return f"g (float[n, 3, 8, 8] x) => (float[n, c, h, v] y) {{ {body} }}"


@pytest.mark.parametrize(
    ("body", "pads"),
    [
        ("a = Pad (x, p)\n y = Conv (a, w)", [1, 0, 2, 1]),
        ("a = Pad (x, p, nought)\n y = Conv <pads = [1, 1, 1, 1]> (a, w)", [2, 1, 3, 2]),
        ('a = Pad (x, p, nought)\n y = Conv <auto_pad = "VALID"> (a, w)', [1, 0, 2, 1]),
        ("a = Pad (x, ends, nought, axes)\n y = Conv (a, w)", [1, 1, 0, 1]),
        ("a = Pad (x, p, low)\n y = MaxPool <kernel_shape = [3, 3]> (a)", [1, 0, 2, 1]),
        ("r = Relu (x)\n a = Pad (r, p)\n y = MaxPool <kernel_shape = [3, 3]> (a)", [1, 0, 2, 1]),
        (
            "r = Clip (x, nought, six)\n a = Pad (r, p)\n y = MaxPool <kernel_shape = [3, 3]> (a)",
            [1, 0, 2, 1],
        ),
    ],
)
def test_folded(parse, rewrite, body, pads):
    result = rewrite(parse(graph(body), **CONSTANTS), NAME, tolerance=1e-5)
    assert "Pad" not in result.ops
    window = next(n for n in result.model.graph if n.op_type in ("Conv", "MaxPool"))
    assert list(window.attributes["pads"].value) == pads


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('a = Pad <mode = "reflect"> (x, p)\n y = Conv (a, w)', "mode is reflect"),
        ("a = Pad (x, p, one)\n y = Conv (a, w)", "value is not zero"),
        ("a = Pad (x, channels)\n y = Conv (a, w4)", "other axes"),
        ("a = Pad (x, cut)\n y = Conv (a, w)", "cuts"),
        ('a = Pad (x, p)\n y = Conv <auto_pad = "SAME_UPPER"> (a, w)', "own padding"),
        ("a = Pad (x, p)\n y = MaxPool <kernel_shape = [3, 3]> (a)", "below"),
        ("a = Pad (x, many, low)\n y = MaxPool <kernel_shape = [3, 3]> (a)", "nothing but"),
        (
            "a = Pad (x, p, low)\n y = MaxPool <kernel_shape = [3, 3], ceil_mode = 1> (a)",
            "rounds",
        ),
    ],
)
def test_declined(parse, rewrite, body, reason):
    constants = {**CONSTANTS, "w4": np.ones((4, 4, 3, 3), np.float32)}
    result = rewrite(parse(graph(body), **constants), NAME)
    assert not result.modified
    assert reason in result.declined[0].reason


def test_a_pad_stays_for_its_other_readers(parse, rewrite):
    body = "a = Pad (x, p)\n c = Conv (a, w)\n m = ReduceMean (a)\n y = Add (c, m)"
    result = rewrite(parse(graph(body), **CONSTANTS), NAME, tolerance=1e-5)
    assert result.ops["Pad"] == 1
    assert result.modified
