"""Activations against their documented formulas, computed in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewise.targets.apple._coremltools import Builder as mb

Array = npt.NDArray[Any]
_ERF = np.vectorize(math.erf)


def _sigmoid(x: Array) -> Any:
    return 1 / (1 + np.exp(-x))


def _softmax(x: Array) -> Any:
    exponentials = np.exp(x)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


_A, _B = np.float32(0.3), np.float32(1.7)
_CHANNELS = np.array([0.1, -0.4, 2.0], np.float32)
_CASES: dict[str, tuple[Callable[..., Any], Callable[[Array], Any]]] = {
    "relu": (lambda x: mb.relu(x=x), lambda x: np.maximum(x, 0)),
    "relu6": (lambda x: mb.relu6(x=x), lambda x: np.clip(x, 0, 6)),
    "leaky_relu": (lambda x: mb.leaky_relu(x=x, alpha=_A), lambda x: np.where(x >= 0, x, _A * x)),
    "elu": (lambda x: mb.elu(x=x, alpha=_A), lambda x: np.where(x > 0, x, _A * np.expm1(x))),
    "prelu": (
        lambda x: mb.prelu(x=x, alpha=_CHANNELS),
        lambda x: np.where(x > 0, x, _CHANNELS.reshape(1, 3, 1, 1) * x),
    ),
    "clip": (lambda x: mb.clip(x=x, alpha=_A, beta=_B), lambda x: np.clip(x, _A, _B)),
    "clamped_relu": (
        lambda x: mb.clamped_relu(x=x, alpha=_A, beta=_B),
        lambda x: np.minimum(np.where(x >= 0, x, _A * x), _B),
    ),
    "linear_activation": (
        lambda x: mb.linear_activation(x=x, alpha=_A, beta=_B),
        lambda x: _A * x + _B,
    ),
    "scaled_tanh": (
        lambda x: mb.scaled_tanh(x=x, alpha=_A, beta=_B),
        lambda x: _A * np.tanh(_B * x),
    ),
    "sigmoid": (lambda x: mb.sigmoid(x=x), _sigmoid),
    "sigmoid_hard": (
        lambda x: mb.sigmoid_hard(x=x, alpha=_A, beta=_B),
        lambda x: np.clip(_A * x + _B, 0, 1),
    ),
    "silu": (lambda x: mb.silu(x=x), lambda x: x * _sigmoid(x)),
    "softplus": (lambda x: mb.softplus(x=x), lambda x: np.log1p(np.exp(x))),
    "softplus_parametric": (
        lambda x: mb.softplus_parametric(x=x, alpha=_CHANNELS, beta=_CHANNELS),
        lambda x: (
            _CHANNELS.reshape(1, 3, 1, 1) * np.log1p(np.exp(_CHANNELS.reshape(1, 3, 1, 1) * x))
        ),
    ),
    "softsign": (lambda x: mb.softsign(x=x), lambda x: x / (1 + np.abs(x))),
    "softmax": (lambda x: mb.softmax(x=x, axis=1), _softmax),
    "thresholded_relu": (
        lambda x: mb.thresholded_relu(x=x, alpha=_A),
        lambda x: np.where(x >= _A, x, 0),
    ),
    "threshold": (lambda x: mb.threshold(x=x, alpha=_A), lambda x: np.maximum(x, _A)),
    "erf": (lambda x: mb.erf(x=x), _ERF),
    "gelu": (lambda x: mb.gelu(x=x), lambda x: 0.5 * x * (1 + _ERF(x / math.sqrt(2)))),
    "gelu tanh": (
        lambda x: mb.gelu(x=x, mode="TANH_APPROXIMATION"),
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    "gelu sigmoid": (
        lambda x: mb.gelu(x=x, mode="SIGMOID_APPROXIMATION"),
        lambda x: x * _sigmoid(1.702 * x),
    ),
}


def test_activations(run_mil: Any) -> None:
    x = (np.random.default_rng(0).normal(size=(2, 3, 4, 5)) * 3).astype(np.float32)
    x[0, :, 0, 0] = 0

    def build(x: Any) -> list[Any]:
        return [make(x) for make, _ in _CASES.values()]

    results = run_mil(build, {"x": x})
    for (name, (_, formula)), result in zip(_CASES.items(), results, strict=True):
        expected = formula(x.astype(np.float64))
        np.testing.assert_allclose(result, expected, rtol=3e-6, atol=1e-6, err_msg=name)


def test_extreme_values_stay_finite(run_mil: Any) -> None:
    x = np.array([[-1e4, -100.0, 0.0, 100.0, 1e4]], np.float32)

    def build(x: Any) -> list[Any]:
        return [mb.sigmoid(x=x), mb.silu(x=x), mb.softplus(x=x), mb.softmax(x=x, axis=-1)]

    sigmoid, silu, softplus, softmax = run_mil(build, {"x": x})
    np.testing.assert_allclose(sigmoid, [[0.0, 0.0, 0.5, 1.0, 1.0]], atol=1e-37)
    np.testing.assert_allclose(silu, [[0.0, 0.0, 0.0, 100.0, 1e4]], atol=1e-37)
    assert softplus[0, 0] == 0.0
    assert softplus[0, -1] == np.float32(1e4)
    assert softmax.tolist() == [[0, 0, 0, 0, 1]]
