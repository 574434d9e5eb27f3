"""Normalization layers; scales and shifts must be constants."""

from __future__ import annotations

import numpy as np

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple.call import Array, Call, Operand


def _epsilon(call: Call) -> np.float32:
    return np.float32(call.attribute("epsilon", 1e-5))


def batch_normalization(call: Call) -> Operand:
    """1. Rank 3 to 5: MIL `batch_norm`. 2. Other ranks: a factor and an addend per channel."""
    if call.attribute("training_mode", 0):
        call.refuse("it is in training mode", "Export the model for inference.")
    gamma, beta = call.array(1, "scale"), call.array(2, "shift")
    mean, variance = call.array(3, "mean"), call.array(4, "variance")
    if 3 <= call.rank(0) <= 5:
        return mb.batch_norm(
            x=call.var(0), mean=mean, variance=variance, gamma=gamma, beta=beta,
            epsilon=_epsilon(call), name=call.name,
        )  # fmt: skip
    factor = gamma / np.sqrt(variance + _epsilon(call))
    scaled = mb.mul(x=call.var(0), y=factor.astype(np.float32))
    return mb.add(x=scaled, y=(beta - mean * factor).astype(np.float32), name=call.name)


def instance_normalization(call: Call) -> Operand:
    return mb.instance_norm(
        x=call.var(0), gamma=call.array(1, "scale"), beta=call.array(2, "shift"),
        epsilon=_epsilon(call), name=call.name,
    )  # fmt: skip


def layer_normalization(call: Call) -> Operand:
    if call.wants_output(1) or call.wants_output(2):
        call.refuse("Core ML gives no mean or deviation", "Leave those outputs unused.")
    shape = call.shape(0)
    axis = call.attribute("axis", -1) % len(shape)
    normalized = shape[axis:]
    shift = {"beta": _spread(call.array(2, "shift"), normalized)} if call.has(2) else {}
    return mb.layer_norm(
        x=call.var(0), axes=list(range(axis, len(shape))),
        gamma=_spread(call.array(1, "scale"), normalized),
        epsilon=_epsilon(call), name=call.name, **shift,
    )  # fmt: skip


def group_normalization(call: Call) -> Operand:
    """Each group of channels becomes one long axis that is normalized, then the channels are
    scaled and shifted."""
    groups = call.attribute("num_groups")
    shape = call.shape(0)
    grouped = mb.reshape(x=call.var(0), shape=[shape[0], groups, -1])
    centred = mb.sub(x=grouped, y=mb.reduce_mean(x=grouped, axes=[2], keep_dims=True))
    variance = mb.reduce_mean(x=mb.mul(x=centred, y=centred), axes=[2], keep_dims=True)
    normal = mb.mul(x=centred, y=mb.rsqrt(x=variance, epsilon=_epsilon(call)))
    back = mb.reshape(x=normal, shape=list(shape))
    per_channel = [1, shape[1]] + [1] * (len(shape) - 2)
    scaled = mb.mul(x=back, y=call.array(1, "scale").reshape(per_channel))
    return mb.add(x=scaled, y=call.array(2, "shift").reshape(per_channel), name=call.name)


def local_response_normalization(call: Call) -> Operand:
    return mb.local_response_norm(
        x=call.var(0), size=call.attribute("size"),
        alpha=np.float32(call.attribute("alpha", 1e-4)),
        beta=np.float32(call.attribute("beta", 0.75)),
        k=np.float32(call.attribute("bias", 1.0)), name=call.name,
    )  # fmt: skip


def lp_normalization(call: Call) -> Operand:
    """`x / norm`; MIL `l2_norm` normalizes over other axes, so the norm is taken by itself."""
    order = call.attribute("p", 2)
    if order not in (1, 2):
        call.refuse(f"Core ML has no norm of order {order}", "Use order 1 or 2.")
    norm = mb.reduce_l1_norm if order == 1 else mb.reduce_l2_norm
    x = call.var(0)
    length = norm(x=x, axes=[call.attribute("axis", -1)], keep_dims=True)
    return mb.real_div(x=x, y=length, name=call.name)


def _spread(parameter: Array, shape: tuple[int, ...]) -> Array:
    return np.ascontiguousarray(np.broadcast_to(parameter, shape))
