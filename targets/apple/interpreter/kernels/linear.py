"""Matrix products (coremltools MIL ops: iOS15/linear.py, iOS18/transformers.py)."""

from __future__ import annotations

import numpy as np

from edgewise.targets.apple.interpreter.kernels.activation import softmax
from edgewise.targets.apple.interpreter.kernels.base import Inputs, Kernel, Node, Result, Run
from edgewise.targets.apple.interpreter.kernels.engine import operator


def _linear(node: Node) -> Run:
    """x * weight^T + bias, over the last axis of x."""
    multiply = operator("Gemm", 3 if node.has("bias") else 2, (("transB", 1),), node.threads)

    def run(inputs: Inputs) -> Result:
        x, weight = inputs["x"], inputs["weight"]
        constants = (weight, inputs["bias"]) if "bias" in inputs else (weight,)
        if x.dtype.kind == "i":
            return np.matmul(x, weight.T) + sum(constants[1:])
        return multiply(x.reshape(-1, x.shape[-1]), *constants).reshape(*x.shape[:-1], -1)

    return run


def _matmul(node: Node) -> Run:
    transpose_x, transpose_y = node.flag("transpose_x"), node.flag("transpose_y")
    multiply = operator("MatMul", 2, (), node.threads)

    def run(inputs: Inputs) -> Result:
        x, y = inputs["x"], inputs["y"]
        # MIL: transposing has no effect on a vector
        x = np.swapaxes(x, -1, -2) if transpose_x and x.ndim > 1 else x
        y = np.swapaxes(y, -1, -2) if transpose_y and y.ndim > 1 else y
        return multiply(x, y) if x.dtype == y.dtype == np.float32 else np.matmul(x, y)

    return run


def _einsum(node: Node) -> Run:
    """Two equations exist, `nchw,nwhu->nchu` and `chw,whr->chr`, in any letters.

    Batch axes of length 1 broadcast, so the product runs as a batched matmul over axis h.
    """

    def run(inputs: Inputs) -> Result:
        x, y = inputs["values"]  # [..., C, H, W1] and [..., W1, H, W2]
        product = np.matmul(np.moveaxis(x, -2, -3), np.moveaxis(y, -2, -3))  # [..., H, C, W2]
        return np.moveaxis(product, -3, -2)

    return run


def _attention(node: Node) -> Run:
    def run(inputs: Inputs) -> Result:
        query, key, value = inputs["query"], inputs["key"], inputs["value"]
        scores = np.matmul(query, np.swapaxes(key, -1, -2)) / np.sqrt(np.float32(query.shape[-1]))
        mask = inputs.get("attn_mask")
        if mask is not None:
            float_mask = np.where(mask, 0, -np.inf) if mask.dtype == np.bool_ else mask
            scores = scores + float_mask.astype(np.float32)
        return np.asarray(np.matmul(softmax(scores, -1), value))

    return run


KERNELS: dict[str, Kernel] = {
    "einsum": _einsum,
    "linear": _linear,
    "matmul": _matmul,
    "scaled_dot_product_attention": _attention,
}
