"""Normalization layers, by MIL's own operations wherever there is one: on the device they keep the
sums of squares in a wider type than fp16.

Scales and shifts that MIL wants constant, or in another shape, are multiplied and added behind.
1. GroupNormalization: each group as one long axis of `layer_norm`.
2. InstanceNormalization: `instance_norm` over one or two spatial axes; more are merged.
3. RMSNormalization: x next to -x has the mean 0 and the variance mean(x^2), so `layer_norm` of both
   divides x by its root mean square.
4. BatchNormalization: `batch_norm` for ranks 3 to 5, else a factor and an addend per channel.
5. LRN: `local_response_norm`, which takes images and signals and, with its centre, odd windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from edgewise.graph import attribute
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import Array, Call, Operand, emit


def _epsilon(call: Call) -> np.float32:
    return np.float32(call.attribute("epsilon", 1e-5))


def batch_normalization(call: Call) -> Operand:
    """Case 4."""
    if call.attribute("training_mode", 0):
        call.refuse("it is in training mode", "Export the model for inference.")
    rank = call.rank(0)
    if all(call.is_constant(index) for index in range(1, 5)) and rank >= 3:
        return mb.batch_norm(
            x=call.var(0), mean=call.array(3, "mean"), variance=call.array(4, "variance"),
            gamma=call.array(1, "scale"), beta=call.array(2, "shift"),
            epsilon=_epsilon(call), name=call.name,
        )  # fmt: skip
    shape = _per_channel(rank, call.shape(1)[0])
    mean, variance = _shaped(call, 3, shape), _shaped(call, 4, shape)
    factor = mb.mul(x=_shaped(call, 1, shape), y=mb.rsqrt(x=variance, epsilon=_epsilon(call)))
    scaled = mb.mul(x=mb.sub(x=call.var(0), y=mean), y=factor)
    return mb.add(x=scaled, y=_shaped(call, 2, shape), name=call.name)


def instance_normalization(call: Call) -> Operand:
    """Case 2."""
    x, shape = call.var(0), call.shape(0)
    merged = len(shape) not in (3, 4)
    if merged:
        x = mb.reshape(x=x, shape=[*shape[:2], prod(shape[2:-1]), shape[-1]])
    if call.is_constant(1) and call.is_constant(2):
        normal = mb.instance_norm(
            x=x, gamma=call.array(1, "scale"), beta=call.array(2, "shift"), epsilon=_epsilon(call)
        )
        return mb.reshape(x=normal, shape=list(shape)) if merged else normal
    normal = mb.instance_norm(x=x, epsilon=_epsilon(call))
    normal = mb.reshape(x=normal, shape=list(shape)) if merged else normal
    return _affine(call, normal, _per_channel(len(shape), shape[1]))


def layer_normalization(call: Call) -> Sequence[Operand]:
    """The mean and the inverse deviation, if they are used, are computed by themselves."""
    x, shape = call.var(0), call.shape(0)
    first = call.attribute("axis", -1) % len(shape)
    axes, normalized = list(range(first, len(shape))), shape[first:]
    if _fits(call, 1, normalized) and (not call.has(2) or _fits(call, 2, normalized)):
        shift = {"beta": _spread(call.array(2, "shift"), normalized)} if call.has(2) else {}
        normal = mb.layer_norm(
            x=x, axes=axes, gamma=_spread(call.array(1, "scale"), normalized),
            epsilon=_epsilon(call), name=call.name, **shift,
        )  # fmt: skip
    else:
        normal = mb.layer_norm(x=x, axes=axes, epsilon=_epsilon(call))
        normal = mb.mul(x=normal, y=call.var(1))
        normal = mb.add(x=normal, y=call.var(2)) if call.has(2) else normal
    if not call.wants_output(1) and not call.wants_output(2):
        return [normal]
    mean = mb.reduce_mean(x=x, axes=axes, keep_dims=True)
    squares = mb.square(x=mb.sub(x=x, y=mean))
    variance = mb.reduce_mean(x=squares, axes=axes, keep_dims=True)
    return [normal, mean, mb.rsqrt(x=variance, epsilon=_epsilon(call))]


def group_normalization(call: Call) -> Operand:
    """Case 1. Up to opset 20 there is a scale for each group, from 21 on for each channel."""
    groups, shape = call.attribute("num_groups"), call.shape(0)
    grouped = mb.reshape(x=call.var(0), shape=[shape[0], groups, prod(shape[1:]) // groups])
    normal = mb.layer_norm(x=grouped, axes=[2], epsilon=_epsilon(call))
    by_group = call.shape(1) == (groups,) and groups != shape[1]
    if by_group:
        normal = _affine(call, normal, [1, groups, 1])
    normal = mb.reshape(x=normal, shape=list(shape))
    return normal if by_group else _affine(call, normal, _per_channel(len(shape), shape[1]))


def rms_normalization(call: Call) -> Operand:
    """Case 3."""
    x, shape = call.var(0), call.shape(0)
    first = call.attribute("axis", -1) % len(shape)
    if first != len(shape) - 1:
        x = mb.reshape(x=x, shape=[prod(shape[:first]), prod(shape[first:])])
    size, last = int(x.shape[-1]), x.rank - 1
    both = mb.concat(values=[x, mb.mul(x=x, y=np.float32(-1))], axis=last)
    normal = mb.layer_norm(x=both, axes=[last], epsilon=_epsilon(call))
    kept = [*(int(dim) for dim in x.shape[:-1]), size]
    normal = mb.slice_by_index(x=normal, begin=[0] * x.rank, end=kept)
    if first != len(shape) - 1:
        normal = mb.reshape(x=normal, shape=list(shape))
    return mb.mul(x=normal, y=call.var(1), name=call.name)


def has_centre(node: ir.Node) -> bool:
    """Case 5."""
    value = node.inputs[0]
    rank = 0 if value is None or value.shape is None else len(value.shape)
    return int(attribute(node, "size")) % 2 == 1 and rank in (3, 4)


def local_response_normalization(call: Call) -> Operand:
    return mb.local_response_norm(
        x=call.var(0), size=call.attribute("size"),
        alpha=np.float32(call.attribute("alpha", 1e-4)),
        beta=np.float32(call.attribute("beta", 0.75)),
        k=np.float32(call.attribute("bias", 1.0)), name=call.name,
    )  # fmt: skip


def lp_normalization(call: Call) -> Operand:
    """`x / norm`, and 0 where that is 0 / 0; MIL `l2_norm` normalizes over other axes, so the norm
    is taken by itself."""
    order = call.attribute("p", 2)
    if order not in (1, 2):
        call.refuse(f"Core ML has no norm of order {order}", "Use order 1 or 2.")
    norm = mb.reduce_l1_norm if order == 1 else mb.reduce_l2_norm
    x = call.var(0)
    length = norm(x=x, axes=[call.attribute("axis", -1)], keep_dims=True)
    empty = mb.equal(x=length, y=np.float32(0))
    divisor = mb.select(cond=empty, a=np.float32(1), b=length)
    return mb.real_div(x=x, y=divisor, name=call.name)


def _per_channel(rank: int, channels: int) -> list[int]:
    return [1, channels, *[1] * (rank - 2)]


def _affine(call: Call, x: Var, shape: Sequence[int]) -> Var:
    """Times the scale, plus the shift, both in the given shape."""
    scaled = mb.mul(x=x, y=_shaped(call, 1, shape))
    return mb.add(x=scaled, y=_shaped(call, 2, shape), name=call.name)


def _shaped(call: Call, index: int, shape: Sequence[int]) -> Var:
    """A parameter, constant or computed, in another shape."""
    operand = call.operand(index)
    if isinstance(operand, Var):
        return mb.reshape(x=operand, shape=list(shape))
    return emit(call.array(index, "parameter").reshape(shape))


def _fits(call: Call, index: int, shape: Sequence[int]) -> bool:
    """Whether it is a constant that `layer_norm` takes once it is spread."""
    return call.is_constant(index) and call.rank(index) <= len(shape)


def _spread(parameter: Array, shape: tuple[int, ...]) -> Array:
    return np.ascontiguousarray(np.broadcast_to(parameter, shape))
