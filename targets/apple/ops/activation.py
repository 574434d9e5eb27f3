"""Activation functions.

Those that MIL lacks are composed from the definitions in the ONNX operator specification, in the
order of operations that keeps fp16 in range.
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import Call, Operand
from edgewise.targets.apple.ops.numbers import constant_like, element_type, is_integer, number

_IMAGE_RANK = 4


def relu(call: Call) -> Operand:
    return mb.relu(x=call.var(0), name=call.name)


def clip(call: Call) -> Operand:
    """1. [0, 6]: `relu6`; 2. [0, inf): `relu`; 3. a range: `clip`; 4. one bound (an infinite one
    would not fit fp16), or an empty range, where the upper bound wins: `maximum`, then `minimum`;
    5. no bound: nothing; 6. integers, and bounds that are computed, as case 4."""
    if is_integer(element_type(call, 0)) or _has_computed_bound(call):
        return _clip_between(call)
    low, high = _bound(call, 1), _bound(call, 2)
    x = call.var(0)
    if low == 0 and high == 6:
        return mb.relu6(x=x, name=call.name)
    if low == 0 and high is None:
        return mb.relu(x=x, name=call.name)
    if low is not None and high is not None and low < high:
        return mb.clip(x=x, alpha=np.float32(low), beta=np.float32(high), name=call.name)
    if low is not None:
        x = mb.maximum(x=x, y=np.float32(low))
    if high is not None:
        x = mb.minimum(x=x, y=np.float32(high))
    return x


def _has_computed_bound(call: Call) -> bool:
    return any(call.has(index) and not call.is_constant(index) for index in (1, 2))


def _clip_between(call: Call) -> Operand:
    """Case 6."""
    x = number(call, 0)
    if call.has(1):
        x = mb.maximum(x=x, y=number(call, 1))
    if call.has(2):
        x = mb.minimum(x=x, y=number(call, 2))
    return x


def _bound(call: Call, index: int) -> float | None:
    """A bound, or None where it is absent or beyond every fp16 and integer value in use."""
    if not call.has(index):
        return None
    value = call.scalar(index, "bound")
    return None if abs(value) >= float(np.finfo(np.float32).max) else value


def leaky_relu(call: Call) -> Operand:
    alpha = np.float32(call.attribute("alpha", 0.01))
    return mb.leaky_relu(x=call.var(0), alpha=alpha, name=call.name)


def prelu(call: Call) -> Operand:
    """1. One slope per channel: MIL `prelu`, which takes slopes that differ for images only.
    2. Other slopes, and integers: `max(x, 0) + slope * min(x, 0)`."""
    x = number(call, 0)
    shape, rank = call.shape(1), call.rank(0)
    aligned = (1,) * (rank - len(shape)) + shape
    per_channel = all(size == 1 for axis, size in enumerate(aligned) if axis != 1)
    takes = rank == _IMAGE_RANK or (rank in (3, 5) and np.prod(shape) == 1)
    if call.is_constant(1) and call.is_float(0) and takes and per_channel:
        channels = call.shape(0)[1]
        slopes = np.broadcast_to(call.array(1, "slope").reshape(-1), (channels,))
        return mb.prelu(x=x, alpha=np.ascontiguousarray(slopes), name=call.name)
    zero = constant_like(x, 0)
    below = mb.mul(x=mb.minimum(x=x, y=zero), y=number(call, 1))
    return mb.add(x=mb.maximum(x=x, y=zero), y=below, name=call.name)


def sigmoid(call: Call) -> Operand:
    return mb.sigmoid(x=call.var(0), name=call.name)


def hard_sigmoid(call: Call) -> Operand:
    """`max(0, min(1, alpha * x + beta))`"""
    alpha = np.float32(call.attribute("alpha", 0.2))
    beta = np.float32(call.attribute("beta", 0.5))
    return mb.sigmoid_hard(x=call.var(0), alpha=alpha, beta=beta, name=call.name)


def hard_swish(call: Call) -> Operand:
    """`x * hard_sigmoid(x)` with alpha 1/6 and beta 1/2"""
    x = call.var(0)
    gate = mb.sigmoid_hard(x=x, alpha=np.float32(1 / 6), beta=np.float32(0.5))
    return mb.mul(x=x, y=gate, name=call.name)


def swish(call: Call) -> Operand:
    """`x * sigmoid(alpha * x)`: MIL `silu` where alpha is 1"""
    x = call.var(0)
    alpha = call.attribute("alpha", 1.0)
    if alpha == 1.0:
        return mb.silu(x=x, name=call.name)
    scaled = mb.mul(x=x, y=np.float32(alpha))
    return mb.mul(x=x, y=mb.sigmoid(x=scaled), name=call.name)


def elu(call: Call) -> Operand:
    alpha = np.float32(call.attribute("alpha", 1.0))
    return mb.elu(x=call.var(0), alpha=alpha, name=call.name)


def selu(call: Call) -> Operand:
    """`gamma * elu(x, alpha)`; the default constants are those of the ONNX specification."""
    alpha = call.attribute("alpha", 1.67326319217681884765625)
    gamma = call.attribute("gamma", 1.05070102214813232421875)
    inner = mb.elu(x=call.var(0), alpha=np.float32(alpha))
    return mb.mul(x=inner, y=np.float32(gamma), name=call.name)


def celu(call: Call) -> Operand:
    """`max(0, x) + min(0, alpha * (exp(x / alpha) - 1))`, the second part as `elu` with `alpha` of
    `min(0, x) / alpha`: no positive number is divided, which could overflow."""
    alpha, x = call.attribute("alpha", 1.0), call.var(0)
    if alpha <= 0:
        call.refuse(f"its alpha is {alpha}, where only positive ones bend", "Use a positive alpha.")
    if alpha == 1.0:
        return mb.elu(x=x, alpha=np.float32(1), name=call.name)
    below = mb.mul(x=mb.minimum(x=x, y=np.float32(0)), y=np.float32(1 / alpha))
    curved = mb.elu(x=below, alpha=np.float32(alpha))
    return mb.add(x=mb.relu(x=x), y=curved, name=call.name)


def gelu(call: Call) -> Operand:
    tanh = call.attribute("approximate", "none") == "tanh"
    mode = "TANH_APPROXIMATION" if tanh else "EXACT"
    return mb.gelu(x=call.var(0), mode=mode, name=call.name)


def mish(call: Call) -> Operand:
    """`x * tanh(softplus(x))`"""
    x = call.var(0)
    return mb.mul(x=x, y=mb.tanh(x=mb.softplus(x=x)), name=call.name)


def softplus(call: Call) -> Operand:
    return mb.softplus(x=call.var(0), name=call.name)


def softsign(call: Call) -> Operand:
    return mb.softsign(x=call.var(0), name=call.name)


def thresholded_relu(call: Call) -> Operand:
    """`x` where `x > alpha`, else 0 (MIL's own lets `x = alpha` pass)."""
    x = call.var(0)
    above = mb.greater(x=x, y=np.float32(call.attribute("alpha", 1.0)))
    return mb.select(cond=above, a=x, b=np.float32(0), name=call.name)


def softmax(call: Call) -> Operand:
    return mb.softmax(x=call.var(0), axis=call.attribute("axis", -1), name=call.name)


def log_softmax(call: Call) -> Operand:
    """`m - log(sum(exp(m)))` with `m = x - max(x)`: no exponential exceeds 1."""
    axis = call.attribute("axis", -1)
    shifted = _minus_max(call.var(0), axis)
    total = mb.reduce_sum(x=mb.exp(x=shifted), axes=[axis], keep_dims=True)
    return mb.sub(x=shifted, y=mb.log(x=total, epsilon=np.float32(0)), name=call.name)


def _minus_max(x: Var, axis: int) -> Var:
    return mb.sub(x=x, y=mb.reduce_max(x=x, axes=[axis], keep_dims=True))
