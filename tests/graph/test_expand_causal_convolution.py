"""CausalConvWithState in simpler operators, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


@pytest.mark.parametrize("activation", ["none", "silu", "swish"])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("with_past", [False, True])
@pytest.mark.parametrize(("length", "kernel"), [(6, 4), (2, 4), (1, 3), (5, 2)])
def test_states(
    rewritten: Any, rng: Any, length: int, kernel: int, activation: str, with_bias: bool,
    with_past: bool,
) -> None:  # fmt: skip
    x = rng.standard_normal((2, 3, length)).astype(np.float32)
    weight = rng.standard_normal((3, 1, kernel)).astype(np.float32)
    bias = rng.standard_normal(3).astype(np.float32) if with_bias else None
    past = rng.standard_normal((2, 3, kernel - 1)).astype(np.float32) if with_past else None
    done = rewritten(
        "CausalConvWithState", [x, weight, bias, past], outputs=2, opset=27,
        constants=(1, 2) if with_bias else (1,), activation=activation,
    )  # fmt: skip
    assert done.error <= 1e-5
    assert "CausalConvWithState" not in done.ops


def test_a_kernel_of_one_has_no_state(rewritten: Any, rng: Any) -> None:
    x, weight = (rng.standard_normal(s).astype(np.float32) for s in ((1, 2, 4), (2, 1, 1)))
    done = rewritten("CausalConvWithState", [x, weight], opset=27, constants=(1,), outputs=2)
    assert done.error <= 1e-5
