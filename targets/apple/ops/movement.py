"""Operators that select, join, repeat or rearrange elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import types
from edgewise.targets.apple.call import Call, Operand
from edgewise.targets.apple.ops.shape import MAX_RANK

_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}


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


def pad(call: Call) -> Operand:
    """Negative pads cut elements off, before the others are added."""
    mode = call.attribute("mode", "constant")
    if mode not in _PAD_MODES:
        call.refuse(f"Core ML has no '{mode}' padding", f"Use one of {', '.join(_PAD_MODES)}.")
    rank = call.rank(0)
    given = call.ints(1, "pads")
    axes = [a % rank for a in call.ints(3, "axes")] if call.has(3) else list(range(rank))
    begin, end = [0] * rank, [0] * rank
    for position, axis in enumerate(axes):
        begin[axis], end[axis] = given[position], given[position + len(axes)]
    x = call.var(0)
    if min(begin + end) < 0:
        cut_end = [size + min(0, e) for size, e in zip(call.shape(0), end, strict=True)]
        x = mb.slice_by_index(x=x, begin=[max(0, -b) for b in begin], end=cut_end)
    added = [(max(0, b), max(0, e)) for b, e in zip(begin, end, strict=True)]
    if not any(b or e for b, e in added):
        return x
    if mode != "constant":
        if any(b or e for b, e in added[:-2]):
            call.refuse(
                f"Core ML pads only the last two axes with mode '{mode}'",
                "Pad the other axes with zeros.",
            )
        added = added[-2:]
    value = call.scalar(2, "value") if call.has(2) and mode == "constant" else 0.0
    constant = np.float32(value) if call.is_float(0) else np.int32(value)
    return mb.pad(
        x=x,
        pad=[amount for pair in added for amount in pair],
        mode=_PAD_MODES[mode],
        constant_val=constant,
        name=call.name,
    )


def gather(call: Call) -> Operand:
    """1. Constant indices are made positive. 2. Computed ones must be positive already where Core
    ML runs, so the axis length is added to the negative ones."""
    axis = call.attribute("axis", 0)
    length = call.shape(0)[axis]
    if call.is_constant(1):
        indices = np.asarray(call.array(1, "indices"))
        fixed = np.where(indices < 0, indices + length, indices).astype(np.int32)
        index = fixed if fixed.ndim else fixed[()]
    else:
        raw = call.var(1)
        index = mb.select(
            cond=mb.less(x=raw, y=np.int32(0)), a=mb.add(x=raw, y=np.int32(length)), b=raw
        )
    return mb.gather(
        x=call.var(0), indices=index, axis=axis, validate_indices=False, name=call.name
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
    if x.dtype == types.bool:
        call.refuse("Core ML cannot repeat booleans", "Cast to int32 before.")
    aligned = [1] * (len(target) - len(source)) + list(source)
    if aligned != list(source):
        x = mb.reshape(x=x, shape=aligned)
    reps = [1 if size == have else size for size, have in zip(target, aligned, strict=True)]
    return x if max(reps, default=1) == 1 else mb.tile(x=x, reps=reps, name=call.name)


def depth_to_space(call: Call) -> Operand:
    """DCR is MIL `depth_to_space`; CRD is `pixel_shuffle`."""
    block = call.attribute("blocksize")
    if call.attribute("mode", "DCR") == "CRD":
        return mb.pixel_shuffle(x=call.var(0), upscale_factor=block, name=call.name)
    return mb.depth_to_space(x=call.var(0), block_size=block, name=call.name)


def space_to_depth(call: Call) -> Operand:
    return mb.space_to_depth(x=call.var(0), block_size=call.attribute("blocksize"), name=call.name)
