"""Recurrent layers against a plain loop in float64, in the cases that no ONNX node becomes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import ct

_INPUTS, _HIDDEN = 3, 4


def _array(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _weights(gates: int, seed: int = 0) -> Any:
    rows = gates * _HIDDEN
    return _array(seed, rows, _INPUTS), _array(seed + 1, rows, _HIDDEN), _array(seed + 2, rows)


def _lstm(x: Any, h: Any, c: Any, weights: Any, peephole: Any, clip: float) -> Any:
    """Every h in the order of the walk, and the last c."""
    w, r, b = (a.astype(np.float64) for a in weights)
    p_i, p_f, p_o = np.split(peephole.astype(np.float64), 3)
    outputs = []
    for step in x.astype(np.float64):
        i, f, o, z = np.split(step @ w.T + h @ r.T + b, 4, axis=1)
        i, f = _sigmoid(i + p_i * c), _sigmoid(f + p_f * c)
        c = np.clip(f * c + i * np.tanh(z), -clip, clip)
        h = _sigmoid(o + p_o * c) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs), c


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_lstm(run_mil: Any, direction: str, whole: bool) -> None:
    """With peepholes and a clipped cell."""
    count = 2 if direction == "bidirectional" else 1
    x = _array(0, 6, 2, _INPUTS)
    h, c = _array(1, 2, count * _HIDDEN), _array(2, 2, count * _HIDDEN)
    layers = [(_weights(4, seed), _array(seed + 5, 3 * _HIDDEN)) for seed in (10, 20)]
    (w, r, b), p = layers[0]
    (w_back, r_back, b_back), p_back = layers[1]
    back = {"weight_ih_back": w_back, "weight_hh_back": r_back, "bias_back": b_back}

    def build(x: Any, h: Any, c: Any) -> Any:
        return mb.lstm(
            x=x, initial_h=h, initial_c=c, weight_ih=w, weight_hh=r, bias=b, peephole=p,
            clip=np.float32(0.4), direction=direction, output_sequence=whole,
            **({**back, "peephole_back": p_back} if count == 2 else {}),
        )  # fmt: skip

    found = run_mil(build, {"x": x, "h": h, "c": c})
    outputs, last_h, last_c = [], [], []
    for index in range(count):
        backward = direction == "reverse" or index == 1
        part = slice(index * _HIDDEN, (index + 1) * _HIDDEN)
        sequence = x[::-1] if backward else x
        steps, cell = _lstm(sequence, h[:, part], c[:, part], *layers[index], clip=0.4)
        kept = steps if whole else steps[-1:]
        outputs.append(kept[::-1] if index == 1 else kept)
        last_h.append(steps[-1])
        last_c.append(cell)
    for result, parts in zip(found, (outputs, last_h, last_c), strict=True):
        np.testing.assert_allclose(result, np.concatenate(parts, axis=-1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_gru(run_mil: Any, direction: str) -> None:
    x, h = _array(3, 5, 1, _INPUTS), _array(4, 1, _HIDDEN)
    w, r, b = _weights(3, 30)
    found = run_mil(
        lambda x, h: mb.gru(
            x=x, initial_h=h, weight_ih=w, weight_hh=r, bias=b, direction=direction,
            output_sequence=True,
        ),
        {"x": x, "h": h},
    )  # fmt: skip
    state, expected = h.astype(np.float64), []
    r_r, r_n, r_z = np.split(r.astype(np.float64), 3)
    for step in x if direction == "forward" else x[::-1]:
        x_r, x_n, x_z = np.split(step.astype(np.float64) @ w.T + b, 3, axis=1)
        reset, update = _sigmoid(x_r + state @ r_r.T), _sigmoid(x_z + state @ r_z.T)
        new = np.tanh(x_n + (reset * state) @ r_n.T)
        state = (1 - update) * new + update * state
        expected.append(state)
    np.testing.assert_allclose(found[0], np.stack(expected), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], state, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("tanh", np.tanh),
        ("scaled_tanh", np.tanh),
        ("relu", lambda x: np.maximum(x, 0)),
        ("sigmoid", _sigmoid),
        ("sigmoid_hard", lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
        ("linear", lambda x: x),
    ],
)
def test_rnn(run_mil: Any, activation: str, function: Any) -> None:
    x, h = _array(5, 4, 2, _INPUTS), _array(6, 2, _HIDDEN)
    w, r, b = _weights(1, 40)
    found = run_mil(
        lambda x, h: mb.rnn(
            x=x, initial_h=h, weight_ih=w, weight_hh=r, bias=b, activation=activation
        ),
        {"x": x, "h": h},
    )
    state = h.astype(np.float64)
    for step in x:
        state = function(step.astype(np.float64) @ w.T + state @ r.T + b)
    np.testing.assert_allclose(found[0], state[None], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], state, rtol=1e-5, atol=1e-6)


def test_a_gru_that_nobody_knows_is_refused(run_mil: Any) -> None:
    x, h = _array(7, 2, 1, _INPUTS), _array(8, 1, _HIDDEN)
    w, r, _ = _weights(3)

    def build(x: Any, h: Any) -> Any:
        return mb.gru(x=x, initial_h=h, weight_ih=w, weight_hh=r, reset_after=True)

    with pytest.raises(Exception, match="reset_after"):
        run_mil(build, {"x": x, "h": h}, target=ct.target.iOS18)
