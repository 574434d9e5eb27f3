"""Activation functions (coremltools MIL ops: iOS15/activation.py, iOS17/activation.py)."""

from __future__ import annotations

import numpy as np

from edgewise.targets.apple.interpreter.kernels.base import (
    Array,
    Inputs,
    Kernel,
    Node,
    Result,
    Run,
    along_channels,
    unary,
)
from edgewise.targets.apple.interpreter.kernels.engine import operator

_SQRT_HALF = np.float32(np.sqrt(0.5))
_SQRT_2_OVER_PI = np.float32(np.sqrt(2 / np.pi))


def sigmoid(x: Array) -> Result:
    return 1 / (1 + np.exp(-x))


def softmax(x: Array, axis: int) -> Result:
    exponentials = np.exp(x - x.max(axis=axis, keepdims=True))
    return exponentials / exponentials.sum(axis=axis, keepdims=True)


def _softplus(x: Array) -> Result:
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def _gelu(node: Node) -> Run:
    mode = node.text("mode", "EXACT")
    erf = operator("Erf", 1, (), node.threads)

    def exact(inputs: Inputs) -> Result:
        x = inputs["x"]
        return np.float32(0.5) * x * (1 + erf(x * _SQRT_HALF))

    def by_tanh(inputs: Inputs) -> Result:
        x = inputs["x"]
        inner = _SQRT_2_OVER_PI * (x + np.float32(0.044715) * x * x * x)
        return np.float32(0.5) * x * (1 + np.tanh(inner))

    def by_sigmoid(inputs: Inputs) -> Result:
        x = inputs["x"]
        return x * sigmoid(np.float32(1.702) * x)

    modes = {"EXACT": exact, "TANH_APPROXIMATION": by_tanh, "SIGMOID_APPROXIMATION": by_sigmoid}
    return modes[mode]


def _leaky_relu(node: Node) -> Run:
    alpha = node.number("alpha", 0.01)
    return lambda inputs: np.where(inputs["x"] >= 0, inputs["x"], alpha * inputs["x"])


def _elu(node: Node) -> Run:
    alpha = node.number("alpha", 1.0)
    return lambda inputs: np.where(inputs["x"] > 0, inputs["x"], alpha * np.expm1(inputs["x"]))


def _prelu(node: Node) -> Run:
    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        return np.where(x > 0, x, along_channels(inputs["alpha"], x.ndim) * x)

    return run


def _clip(node: Node) -> Run:
    low, high = node.number("alpha", -np.inf), node.number("beta", np.inf)
    return lambda inputs: np.minimum(np.maximum(inputs["x"], low), high)


def _clamped_relu(node: Node) -> Run:
    alpha, beta = node.number("alpha", 0.0), node.number("beta", np.inf)

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        return np.minimum(np.where(x >= 0, x, alpha * x), beta)

    return run


def _linear_activation(node: Node) -> Run:
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 0.0)
    return lambda inputs: alpha * inputs["x"] + beta


def _scaled_tanh(node: Node) -> Run:
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    return lambda inputs: alpha * np.tanh(beta * inputs["x"])


def _sigmoid_hard(node: Node) -> Run:
    alpha, beta = node.number("alpha", 0.2), node.number("beta", 0.5)
    return lambda inputs: np.minimum(np.maximum(alpha * inputs["x"] + beta, 0), 1)


def _thresholded_relu(node: Node) -> Run:
    alpha = node.number("alpha", 1.0)
    return lambda inputs: np.where(inputs["x"] >= alpha, inputs["x"], np.float32(0))


def _threshold(node: Node) -> Run:
    return lambda inputs: np.maximum(inputs["x"], inputs["alpha"])


def _softplus_parametric(node: Node) -> Run:
    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        alpha, beta = (along_channels(inputs[name], x.ndim) for name in ("alpha", "beta"))
        return alpha * _softplus(beta * x)

    return run


def _softmax(node: Node) -> Run:
    axis = node.integer("axis", -1)
    return lambda inputs: softmax(inputs["x"], axis)


def _erf(node: Node) -> Run:
    compute = operator("Erf", 1, (), node.threads)
    return lambda inputs: compute(inputs["x"])


KERNELS: dict[str, Kernel] = {
    "clamped_relu": _clamped_relu,
    "clip": _clip,
    "elu": _elu,
    "erf": _erf,
    "gelu": _gelu,
    "leaky_relu": _leaky_relu,
    "linear_activation": _linear_activation,
    "prelu": _prelu,
    "relu": unary(lambda x: np.maximum(x, 0)),
    "relu6": unary(lambda x: np.minimum(np.maximum(x, 0), 6)),
    "scaled_tanh": _scaled_tanh,
    "sigmoid": unary(sigmoid),
    "sigmoid_hard": _sigmoid_hard,
    "silu": unary(lambda x: x * sigmoid(x)),
    "softmax": _softmax,
    "softplus": unary(_softplus),
    "softplus_parametric": _softplus_parametric,
    "softsign": unary(lambda x: x / (1 + np.abs(x))),
    "tanh": unary(np.tanh),
    "threshold": _threshold,
    "thresholded_relu": _thresholded_relu,
}
