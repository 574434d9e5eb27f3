"""Normalization layers (coremltools MIL ops: iOS15/normalization.py)."""

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
)


def _batch_norm(node: Node) -> Run:
    epsilon = node.number("epsilon", 1e-5)

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        scale = 1 / np.sqrt(inputs["variance"] + epsilon)
        if "gamma" in inputs:
            scale = scale * inputs["gamma"]
        y = (x - along_channels(inputs["mean"], x.ndim)) * along_channels(scale, x.ndim)
        return y + along_channels(inputs["beta"], x.ndim) if "beta" in inputs else y

    return run


def _standardized(x: Array, axes: tuple[int, ...], epsilon: np.float32) -> Result:
    centred = x - x.mean(axis=axes, keepdims=True)
    variance = np.square(centred).mean(axis=axes, keepdims=True)
    return centred / np.sqrt(variance + epsilon)


def _instance_norm(node: Node) -> Run:
    epsilon = node.number("epsilon", 1e-5)

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        y = _standardized(x, tuple(range(2, x.ndim)), epsilon)
        if "gamma" in inputs:
            y = y * along_channels(inputs["gamma"], x.ndim)
        return y + along_channels(inputs["beta"], x.ndim) if "beta" in inputs else y

    return run


def _layer_norm(node: Node) -> Run:
    epsilon = node.number("epsilon", 1e-5)
    given = node.ints("axes")

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        axes = tuple(sorted(axis % x.ndim for axis in (range(x.ndim) if given is None else given)))
        shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
        y = _standardized(x, axes, epsilon)
        if "gamma" in inputs:
            y = y * inputs["gamma"].reshape(shape)
        return y + inputs["beta"].reshape(shape) if "beta" in inputs else y

    return run


def _l2_norm(node: Node) -> Run:
    epsilon = node.number("epsilon", 1e-6)

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        return x / np.sqrt(np.square(x).sum(axis=(-3, -2, -1), keepdims=True) + epsilon)

    return run


def _local_response_norm(node: Node) -> Run:
    size = node.integer("size", 1)
    if size % 2 == 0:
        raise node.refuse("an even window of channels has no documented centre")
    alpha, beta = node.number("alpha", 1e-4), node.number("beta", 0.75)
    k = node.number("k", 1.0)

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        channels = x.shape[1]
        margin = [(0, 0)] * x.ndim
        margin[1] = (size // 2, size // 2)
        squares = np.pad(np.square(x), margin)
        energy = sum(squares[:, shift : shift + channels] for shift in range(size))
        return x / np.power(k + alpha / np.float32(size) * energy, beta)

    return run


KERNELS: dict[str, Kernel] = {
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "l2_norm": _l2_norm,
    "layer_norm": _layer_norm,
    "local_response_norm": _local_response_norm,
}
