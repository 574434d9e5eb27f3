"""Tensors made from shapes and ranges (coremltools MIL ops: iOS15/tensor_operation.py)."""

from __future__ import annotations

import numpy as np

from edgewise.targets.apple.interpreter.kernels.base import Inputs, Kernel, Node, Result, Run, unary


def _fill(node: Node) -> Run:
    def run(inputs: Inputs) -> Result:
        return np.full(tuple(inputs["shape"].tolist()), inputs.get("value", np.float32(0)))

    return run


def _fill_like(node: Node) -> Run:
    def run(inputs: Inputs) -> Result:
        return np.full(inputs["ref_tensor"].shape, inputs.get("value", np.float32(0)))

    return run


def _range_1d(node: Node) -> Run:
    def run(inputs: Inputs) -> Result:
        start, end, step = (np.asarray(inputs[name]) for name in ("start", "end", "step"))
        count = max(int(np.ceil((float(end) - float(start)) / float(step))), 0)
        return start + step * np.arange(count).astype(start.dtype)

    return run


def _band_part(node: Node) -> Run:
    """Keeps (m, n) where m - n <= lower and n - m <= upper; a negative limit keeps that side."""
    lower, upper = node.integer("lower", -1), node.integer("upper", -1)

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        below = np.arange(x.shape[-2])[:, None] - np.arange(x.shape[-1])[None, :]
        band = np.ones(below.shape, np.bool_)
        if lower >= 0:
            band &= below <= lower
        if upper >= 0:
            band &= -below <= upper
        return np.where(band, x, np.zeros((), x.dtype))

    return run


KERNELS: dict[str, Kernel] = {
    "band_part": _band_part,
    "fill": _fill,
    "fill_like": _fill_like,
    "non_zero": unary(lambda x: np.stack(np.nonzero(x), axis=-1)),
    "range_1d": _range_1d,
    "shape": unary(lambda x: np.asarray(x.shape, np.int32)),
}
