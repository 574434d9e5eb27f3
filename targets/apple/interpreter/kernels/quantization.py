"""Affine quantization (coremltools MIL ops: iOS17/quantization_ops.py).

`quantize` is clip(round(x / scale) + zero_point), the quotient in float32, ties to even.
`dequantize` is (q - zero_point) * scale.
Per-tensor forms run in blocks that stay in the cache: these two are most of the element-wise work
of a w8a8 program.
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.apple.interpreter.kernels.base import Array, Inputs, Kernel, Node, Result, Run

_BLOCK = 65_536


def _along_axis(node: Node, parameter: str, rank: int) -> Array:
    """A scale or zero point in float32, shaped to broadcast with data of that rank."""
    given = node.array(parameter)
    if given is None:
        return np.zeros((), np.float32)
    value = given.astype(np.float32)
    if value.ndim == 0:
        return value
    shape = [1] * rank
    shape[node.integer("axis", 0)] = -1
    return value.reshape(shape)


def _is_per_tensor(node: Node) -> bool:
    scale = node.array("scale")
    return scale is not None and scale.ndim == 0


def _quantize(node: Node) -> Run:
    dtype = np.dtype(node.text("output_dtype", "int8"))
    low, high = (np.float32(bound) for bound in (np.iinfo(dtype).min, np.iinfo(dtype).max))

    def whole(x: Array, scale: Array, zero: Array, out: Array, work: Array) -> None:
        np.divide(x, scale, out=work)
        np.rint(work, out=work)
        np.add(work, zero, out=work)
        np.maximum(work, low, out=work)
        np.minimum(work, high, out=work)
        np.copyto(out, work, casting="unsafe")

    def per_channel(inputs: Inputs) -> Result:
        x = inputs["input"]
        out, work = np.empty(x.shape, dtype), np.empty(x.shape, np.float32)
        scale, zero = (_along_axis(node, name, x.ndim) for name in ("scale", "zero_point"))
        whole(x, scale, zero, out, work)
        return out

    def per_tensor(inputs: Inputs) -> Result:
        x = inputs["input"]
        flat, out = x.reshape(-1), np.empty(x.size, dtype)
        work = np.empty(min(_BLOCK, flat.size), np.float32)
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK]
            whole(block, scale, zero, out[start : start + _BLOCK], work[: block.size])
        return out.reshape(x.shape)

    if not _is_per_tensor(node):
        return per_channel
    scale, zero = (_along_axis(node, name, 0) for name in ("scale", "zero_point"))
    return per_tensor


def _dequantize(node: Node) -> Run:
    def per_channel(inputs: Inputs) -> Result:
        q = inputs["input"]
        scale, zero = (_along_axis(node, name, q.ndim) for name in ("scale", "zero_point"))
        return (q.astype(np.float32) - zero) * scale

    def per_tensor(inputs: Inputs) -> Result:
        q = inputs["input"]
        flat, out = q.reshape(-1), np.empty(q.size, np.float32)
        for start in range(0, flat.size, _BLOCK):
            block = out[start : start + _BLOCK]
            np.copyto(block, flat[start : start + _BLOCK])
            np.subtract(block, zero, out=block)
            np.multiply(block, scale, out=block)
        return out.reshape(q.shape)

    if not _is_per_tensor(node):
        return per_channel
    scale, zero = (_along_axis(node, name, 0) for name in ("scale", "zero_point"))
    return per_tensor


KERNELS: dict[str, Kernel] = {"dequantize": _dequantize, "quantize": _quantize}
