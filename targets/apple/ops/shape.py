"""The reshape family: the same elements in the same order under another shape, and Transpose.

Of a quantized constant the stored integers are reshaped or transposed.
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import Call, Operand
from edgewise.targets.apple.collapse import MAX_RANK
from edgewise.targets.apple.weights import QuantizedConstant


def reshape(call: Call) -> Operand:
    wanted = call.ints(1, "shape")
    source = call.shape(0)
    if not call.attribute("allowzero", 0):
        wanted = [source[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    if -1 in wanted:
        known = int(np.prod([size for size in wanted if size != -1]))
        wanted[wanted.index(-1)] = int(np.prod(source)) // max(known, 1)
    return _reshaped(call, wanted)


def flatten(call: Call) -> Operand:
    shape = call.shape(0)
    axis = call.attribute("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return _reshaped(call, [int(np.prod(shape[:axis])), int(np.prod(shape[axis:]))])


def squeeze(call: Call) -> Operand:
    shape = call.shape(0)
    axes = call.ints(1, "axes") if call.has(1) else [a for a, size in enumerate(shape) if size == 1]
    dropped = {axis % len(shape) for axis in axes}
    return _reshaped(call, [size for axis, size in enumerate(shape) if axis not in dropped])


def unsqueeze(call: Call) -> Operand:
    axes = call.ints(1, "axes")
    rank = call.rank(0) + len(axes)
    added = {axis % rank for axis in axes}
    sizes = iter(call.shape(0))
    return _reshaped(call, [1 if axis in added else next(sizes) for axis in range(rank)])


def transpose(call: Call) -> Operand:
    perm = call.attribute("perm") or list(range(call.rank(0)))[::-1]
    operand = call.operand(0)
    if isinstance(operand, Var):
        return mb.transpose(x=operand, perm=perm, name=call.name)
    return operand.transpose(perm)


def _reshaped(call: Call, shape: list[int]) -> Operand:
    operand = call.operand(0)
    if isinstance(operand, np.ndarray):
        return operand.reshape(shape)
    if isinstance(operand, QuantizedConstant):
        moved = operand.reshape(shape)
        if moved is None:
            call.refuse(
                "a weight with a scale per channel would lose its channel axis",
                "Quantize this weight per tensor.",
            )
        return moved
    if len(shape) > MAX_RANK:
        call.refuse(
            f"Core ML tensors have at most {MAX_RANK} axes, not {len(shape)}",
            "Reshape to fewer axes.",
        )
    if not shape:  # MIL `reshape` gives at least one axis
        flat = mb.reshape(x=operand, shape=[1])
        return mb.squeeze(x=flat, axes=[0], name=call.name)
    return mb.reshape(x=operand, shape=shape, name=call.name)
