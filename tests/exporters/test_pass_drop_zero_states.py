"""Initial states of recurrent layers."""

from __future__ import annotations

import numpy as np
import pytest

NAME = "drop-zero-states"
RANDOM = np.random.default_rng(0)


def lstm(parse, state, **constants):
    return parse(
        f"""g (float[7, n, 3] x) => (float[a, b, c, d] out) {{
          {state}
          out, last, cell = LSTM <hidden_size = 4> (x, w, r, , , h, h) }}""",
        w=RANDOM.standard_normal((1, 16, 3)).astype(np.float32),
        r=RANDOM.standard_normal((1, 16, 4)).astype(np.float32),
        **constants,
    )


SIZE = """s = Shape <start = 1, end = 2> (x)
  t = Concat <axis = 0> (one, s, four)"""
NUMBERS = {"one": np.array([1]), "four": np.array([4])}


@pytest.mark.parametrize(
    "state",
    [
        f"{SIZE}\n h = Expand (zero, t)",
        f"{SIZE}\n h = ConstantOfShape (t)",
        f"{SIZE}\n e = Expand (zero, t)\n q = Squeeze (e, nought)\n h = Unsqueeze (q, nought)",
    ],
)
def test_zeros_are_left_away(parse, rewrite, state):
    model = lstm(parse, state, zero=np.float32(0), nought=np.array([0]), **NUMBERS)
    assert rewrite(model, NAME).ops == {"LSTM": 1}


def test_other_states_stay(parse, rewrite):
    result = rewrite(
        lstm(parse, f"{SIZE}\n h = Expand (half, t)", half=np.float32(0.5), **NUMBERS), NAME
    )
    assert not result.modified and result.ops["Expand"] == 1
