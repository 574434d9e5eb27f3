"""Operators that select, join, repeat or rearrange elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple.call import Call, Operand
from edgewise.targets.apple.collapse import MAX_RANK


def concat(call: Call) -> Operand:
    values = [call.var(index) for index in range(call.input_count)]
    if len(values) == 1:
        return values[0]
    return mb.concat(values=values, axis=call.attribute("axis"), name=call.name)


def split(call: Call) -> Sequence[Operand]:
    """Sizes as given, or `num_outputs` parts of which the last may be smaller."""
    axis = call.attribute("axis", 0)
    if call.has(1):
        sizes = call.ints(1, "split")
    else:
        count, length = len(call.node.outputs), call.shape(0)[axis]
        part = -(-length // count)
        sizes = [part] * (count - 1) + [length - part * (count - 1)]
    if len(sizes) == 1:
        return [call.operand(0)]
    parts = mb.split(x=call.var(0), split_sizes=sizes, axis=axis, name=call.name)
    return list(parts)


def slice_(call: Call) -> Operand:
    """Bounds are resolved here, by the rules of the ONNX specification, to plain positions; a
    backward slice that reaches position 0 has no end, which MIL calls a masked end."""
    shape = call.shape(0)
    starts, ends = call.ints(1, "starts"), call.ints(2, "ends")
    axes = call.ints(3, "axes") if call.has(3) else list(range(len(starts)))
    steps = call.ints(4, "steps") if call.has(4) else [1] * len(starts)
    begin, end, stride = [0] * len(shape), list(shape), [1] * len(shape)
    end_mask = [False] * len(shape)
    for start, stop, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis %= len(shape)
        begin[axis], last, stride[axis] = slice(start, stop, step).indices(shape[axis])
        end_mask[axis] = last < 0
        end[axis] = max(last, 0)
    return mb.slice_by_index(
        x=call.var(0), begin=begin, end=end, stride=stride, end_mask=end_mask, name=call.name
    )


def tile(call: Call) -> Operand:
    return mb.tile(x=call.var(0), reps=call.ints(1, "repeats"), name=call.name)


def expand(call: Call) -> Operand:
    """Broadcasting as leading axes and repetition."""
    wanted = call.ints(1, "shape")
    source = call.shape(0)
    target = list(np.broadcast_shapes(source, tuple(wanted)))
    if len(target) > MAX_RANK:
        call.refuse(f"Core ML tensors have at most {MAX_RANK} axes", "Expand to fewer axes.")
    x = call.var(0)
    aligned = [1] * (len(target) - len(source)) + list(source)
    if aligned != list(source):
        x = mb.reshape(x=x, shape=aligned)
    reps = [1 if size == have else size for size, have in zip(target, aligned, strict=True)]
    return x if max(reps, default=1) == 1 else mb.tile(x=x, reps=reps, name=call.name)
