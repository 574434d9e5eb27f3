"""Gemm and MatMul.

1. A constant matrix on the right: MIL `linear`, whose weight is stored transposed. It takes at most
   three axes on the left; more are read as one. (A legal model's Gemm may have any number of axes.)
2. Anything else: MIL `matmul`; vectors are given the axis that ONNX gives them, constant ones as
   they are stored, and the result loses it again.
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import Array, Call, Operand, emit, named
from edgewise.targets.apple.flat_layers import LINEAR_MAX_RANK
from edgewise.targets.apple.weights import QuantizedConstant


def gemm(call: Call) -> Operand:
    """`alpha * A' B' + beta * C`"""
    alpha, beta = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    trans_a, trans_b = call.attribute("transA", 0), call.attribute("transB", 0)
    weight = call.operand(1)
    if not isinstance(weight, Var) and not trans_a and alpha == 1.0 and not call.is_constant(0):
        stored = weight if trans_b else weight.transpose((1, 0))
        bias = _linear_bias(call, stored.shape[0], beta)
        if bias is not None or not call.has(2):
            return _linear(call.var(0), stored, bias, call.name)
        product = _linear(call.var(0), stored, None, None)
    else:
        product = mb.matmul(
            x=call.var(0), y=call.var(1), transpose_x=bool(trans_a), transpose_y=bool(trans_b)
        )
        if alpha != 1.0:
            product = mb.mul(x=product, y=np.float32(alpha))
    if not call.has(2):
        return product
    addend = call.var(2)
    if beta != 1.0:
        addend = mb.mul(x=addend, y=np.float32(beta))
    return mb.add(x=product, y=addend, name=call.name)


def matmul(call: Call) -> Operand:
    left, right = call.operand(0), call.operand(1)
    if (
        isinstance(left, Var)
        and not isinstance(right, Var)
        and len(right.shape) == 2
        and len(left.shape) >= 2
    ):
        return _linear(left, right.transpose((1, 0)), None, call.name)
    dropped = []
    if len(right.shape) == 1:
        right = _with_axis(right, -1)
        dropped.append(-1)
    if len(left.shape) == 1:
        left = _with_axis(left, 0)
        dropped.insert(0, -2)
    x, y = emit(left), emit(right)
    if not dropped:
        return mb.matmul(x=x, y=y, name=call.name)
    return mb.squeeze(x=mb.matmul(x=x, y=y), axes=dropped, name=call.name)


def _with_axis(vector: Operand, axis: int) -> Operand:
    """A constant is given the axis as it is stored."""
    if isinstance(vector, Var):
        return mb.expand_dims(x=vector, axes=[axis])
    if isinstance(vector, QuantizedConstant):
        return vector.expand(axis)
    return np.expand_dims(vector, axis)


def _linear(x: Var, weight: Array | QuantizedConstant, bias: Array | None, name: str | None) -> Var:
    extra = {} if bias is None else {"bias": bias}
    if isinstance(weight, np.ndarray):
        weight = np.ascontiguousarray(weight)
    if len(x.shape) <= LINEAR_MAX_RANK:
        return mb.linear(x=x, weight=emit(weight), **named(name), **extra)
    rows = mb.reshape(x=x, shape=[-1, x.shape[-1]])
    product = mb.linear(x=rows, weight=emit(weight), **extra)
    return mb.reshape(x=product, shape=[*x.shape[:-1], weight.shape[0]], **named(name))


def _linear_bias(call: Call, size: int, beta: float) -> Array | None:
    """C as a vector over the output features; None when absent, computed or of another shape."""
    if not call.has(2) or not call.is_constant(2):
        return None
    bias = call.array(2, "bias") * np.float32(beta)
    if bias.size not in (1, size) or (bias.size > 1 and bias.shape[-1] != size):
        return None
    return np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), (size,)))
