"""Nodes with tensors of more than five axes, written with fewer: a rule per kind of operator.

The elements of a tensor do not move when adjacent axes are merged, so that a node whose axes can be
taken in groups is the same node between two reshapes:
  1. elementwise    adjacent axes along which every operand is repeated or none is, are one axis.
                    Where more than five are left, the operands are repeated first, and all is flat
  2. along an axis  (before, axis, after) are three axes: softmax, running sums, concatenation, ...
  3. axis by axis   what works on several axes one after the other: slices, padding, repetition
  4. reductions     axes that are kept and axes that are not; more than five groups are sorted
                    first, so that two are left
  5. transpositions axes that stay together are one; more than five are sorted by exchanging two
                    blocks at a time, which takes four axes
  6. from an axis   (before, after): normalizations of the last axes, and those per channel
  7. MatMul         its leading axes are one, which both operands have or the second has not; a
                    vector on the left is a row
  8. the reshapes   a reshape whose sizes are all written out
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand import CannotExpand, Expansion
from edgewise.targets.apple.flat_layers import ELEMENTS_OF

#: Core ML tensors have at most five axes
MAX_RANK = 5
Dims = Sequence[int]
Rule = Callable[[Expansion], Sequence[ir.Value | None]]


def elementwise(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 1."""
    shapes = [_aligned(e.shape(i), _out_rank(e)) for i in range(len(e.node.inputs)) if e.has(i)]
    out = [max(sizes) for sizes in zip(*shapes, strict=True)]
    patterns = [
        None if size == 1 else tuple(shape[axis] == 1 for shape in shapes)
        for axis, size in enumerate(out)
    ]
    runs = _runs(patterns)
    operands = [value for value in e.node.inputs if value is not None]
    if len(runs) > MAX_RANK:
        spread = [
            value if prod(shape) == 1 else _repeated(e, value, shape, out)
            for value, shape in zip(operands, shapes, strict=True)
        ]
        flat = [_flat(e, value, shape) for value, shape in zip(spread, shapes, strict=True)]
        return [e.reshape(_same(e, flat), out)]
    merged = [
        e.reshape(value, [prod(shape[axis] for axis in run) for run in runs])
        for value, shape in zip(operands, shapes, strict=True)
    ]
    return [e.reshape(_same(e, merged), out)]


def _out_rank(e: Expansion) -> int:
    return max(e.rank(i) for i in range(len(e.node.inputs)) if e.has(i))


def _flat(e: Expansion, value: ir.Value, shape: Dims) -> ir.Value:
    """A vector; a single element stays one, to be repeated by the operator."""
    return e.reshape(value, [1] if prod(shape) == 1 else [-1])


def flattened(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 1 where the other inputs are not spread over the first: Clip, Cast, ..."""
    return [e.reshape(_same(e, [e.reshape(e.input(0), [-1]), *e.node.inputs[1:]]), e.shape())]


def expand_to(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 3: Expand."""
    wanted = tuple(int(size) for size in e.known(1, "shape"))
    out = np.broadcast_shapes(e.shape(), wanted)
    return [e.reshape(_repeated(e, e.input(0), _aligned(e.shape(), len(out)), out), out)]


def _repeated(e: Expansion, value: ir.Value, shape: Dims, out: Dims) -> ir.Value:
    """Broadcast, one run of missing axes after the other, the last ones first."""
    have = list(shape)
    for run in reversed(_runs([size != have[axis] for axis, size in enumerate(out)])):
        if out[run[0]] == have[run[0]] and all(out[axis] == have[axis] for axis in run):
            continue
        before, after = prod(have[: run[0]]), prod(have[run[-1] + 1 :])
        size = prod(out[axis] for axis in run)
        value = e.reshape(value, [before, 1, after])
        value = e.op("Expand", value, e.ints([before, size, after]))
        have[run[0] : run[-1] + 1] = [out[axis] for axis in run]
    return value


def tile(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 3."""
    value, shape = e.input(0), list(e.shape())
    for axis, count in enumerate(int(count) for count in e.known(1, "repeats")):
        if count != 1:
            value = e.op("Tile", around(e, value, shape, axis), e.ints([1, count, 1]))
            shape[axis] *= count
    return [e.reshape(value, shape)]


def along_axis(default: int, outputs: int = 1) -> Rule:
    """Case 2: an operator with attribute `axis`, whose results have the shapes that are known."""

    def rule(e: Expansion) -> Sequence[ir.Value | None]:
        shape = e.shape()
        axis = int(e.attribute("axis", default)) % len(shape)
        first = around(e, e.input(0), shape, axis)
        made = _same(e, [first, *e.node.inputs[1:]], axis=1, outputs=len(e.node.outputs))
        results = [made] if len(e.node.outputs) == 1 else made
        return [
            e.reshape(result, _known_shape(output))
            for result, output in zip(results, e.node.outputs, strict=True)
        ]

    return rule


def running(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 2: the axis is an input."""
    axis = int(e.known(1, "axis").reshape(())) % e.rank()
    parts = around(e, e.input(0), e.shape(), axis)
    return [e.reshape(_same(e, [parts, e.ints(1)]), e.shape())]


def concat(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 2."""
    axis = int(e.attribute("axis")) % e.rank()
    parts = [around(e, value, e.shape(i), axis) for i, value in enumerate(_given(e))]
    return [e.reshape(_same(e, parts, axis=1), _known_shape(e.node.outputs[0]))]


def gather(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 2, with indices as a vector."""
    axis = int(e.attribute("axis", 0)) % e.rank()
    indices = e.reshape(e.input(1), [-1])
    found = _same(e, [around(e, e.input(0), e.shape(), axis), indices], axis=1)
    shape = e.shape()
    return [e.reshape(found, [*shape[:axis], *e.shape(1), *shape[axis + 1 :]])]


def one_hot(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 2: the new axis in the middle."""
    shape, depth = e.shape(), int(e.known(1, "depth").reshape(()))
    axis = int(e.attribute("axis", -1)) % (len(shape) + 1)
    parts = e.reshape(e.input(0), [prod(shape[:axis]), prod(shape[axis:])])
    made = _same(e, [parts, *e.node.inputs[1:]], axis=1)
    return [e.reshape(made, [*shape[:axis], depth, *shape[axis:]])]


def slices(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 3."""
    value, shape = e.input(0), list(e.shape())
    starts, ends = (e.known(i, "bounds").tolist() for i in (1, 2))
    axes = e.known(3, "axes").tolist() if e.has(3) else list(range(len(starts)))
    steps = e.known(4, "steps").tolist() if e.has(4) else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis %= len(shape)
        bounds = [e.ints([number]) for number in (start, end, 1, step)]
        value = e.op("Slice", around(e, value, shape, axis), *bounds)
        shape[axis] = len(range(*slice(start, end, step).indices(shape[axis])))
    return [e.reshape(value, shape)]


def pad(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 3: what is padded along one axis is padded again along the next."""
    value, shape = e.input(0), list(e.shape())
    pads = e.known(1, "pads").tolist()
    axes = e.known(3, "axes").tolist() if e.has(3) else list(range(len(shape)))
    filler = e.node.inputs[2] if e.has(2) else None
    for place, axis in enumerate(axis % len(shape) for axis in axes):
        begin, end = pads[place], pads[place + len(axes)]
        if begin or end:
            amounts = e.ints([0, begin, 0, 0, end, 0])
            parts = around(e, value, shape, axis)
            value = e.op("Pad", parts, amounts, filler, mode=e.attribute("mode", "constant"))
            shape[axis] += begin + end
    return [e.reshape(value, shape)]


def reduction(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 4."""
    shape = e.shape()
    given = e.known(1, "axes").tolist() if e.has(1) else list(e.attribute("axes", []))
    if not given and e.attribute("noop_with_empty_axes", 0):
        return flattened(e)  # each element by itself
    axes = {axis % len(shape) for axis in given} or set(range(len(shape)))
    out = _known_shape(e.node.outputs[0])
    runs = _runs([None if size == 1 else axis in axes for axis, size in enumerate(shape)])
    if len(runs) <= MAX_RANK:
        value = e.reshape(e.input(0), [prod(shape[axis] for axis in run) for run in runs])
        lost = [
            place for place, run in enumerate(runs) if any(a in axes and shape[a] > 1 for a in run)
        ]
    else:
        kept = [axis for axis in range(len(shape)) if axis not in axes]
        moved = _transposed(e, e.input(0), shape, [*kept, *sorted(axes)])
        value = e.reshape(moved, [prod(shape[axis] for axis in kept), -1])
        lost = [1]
    if not lost:  # axes of one element each: they are reduced all the same
        value, lost = e.reshape(e.input(0), [-1, 1]), [1]
    reduced = e.op(e.node.op_type, value, e.ints(lost), keepdims=0)
    return [e.reshape(reduced, out)]


def transpose(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 5."""
    shape = e.shape()
    perm = [int(axis) for axis in e.attribute("perm") or reversed(range(len(shape)))]
    return [e.reshape(_transposed(e, e.input(0), shape, perm), [shape[axis] for axis in perm])]


def _transposed(e: Expansion, value: ir.Value, shape: Dims, perm: Dims) -> ir.Value:
    """The elements in the new order, in some shape."""
    order = [axis for axis in perm if shape[axis] > 1]
    blocks: list[list[int]] = []  # axes that stay together, in the new order
    for axis in order:
        follows = blocks and blocks[-1][-1] < axis
        if follows and all(shape[a] == 1 for a in range(blocks[-1][-1] + 1, axis)):
            blocks[-1].append(axis)
        else:
            blocks.append([axis])
    sizes = {tuple(block): prod(shape[axis] for axis in block) for block in blocks}
    wanted = [tuple(block) for block in blocks]
    have = sorted(wanted)
    if len(wanted) <= MAX_RANK:
        value = e.reshape(value, [sizes[block] for block in have] or [1])
        return e.transpose(value, [have.index(block) for block in wanted])
    for place, block in enumerate(wanted):
        found = have.index(block)
        if found == place:
            continue
        parts = (have[:place], have[place:found], [block], have[found + 1 :])
        value = e.reshape(value, [prod(sizes[b] for b in part) for part in parts])
        value = e.transpose(value, [0, 2, 1, 3])
        have = [*parts[0], *parts[2], *parts[1], *parts[3]]
    return value


def per_channel(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 6: (batch, channel, all the rest)."""
    shape = e.shape()
    value = e.reshape(e.input(0), [shape[0], shape[1], -1])
    made = _same(e, [value, *e.node.inputs[1:]])
    return [e.reshape(made, _known_shape(e.node.outputs[0]))]


def from_axis(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 6: normalization of the last axes, with a scale and a shift per element of them."""
    shape = e.shape()
    axis = int(e.attribute("axis", -1)) % len(shape)
    last = prod(shape[axis:])
    others = range(1, len(e.node.inputs))
    if any(prod(e.shape(index)) != last for index in others if e.has(index)):
        raise CannotExpand(
            "it has more than 5 axes, and a scale that is repeated", "Give it the full shape."
        )
    if any(e.wants(index) for index in range(1, len(e.node.outputs))):
        raise CannotExpand(
            "it has more than 5 axes, and gives its mean", "Leave that output unused."
        )
    value = e.reshape(e.input(0), [prod(shape[:axis]), last])
    rest = [e.reshape(e.input(index), [last]) for index in others if e.has(index)]
    return [e.reshape(_same(e, [value, *rest], axis=1), shape), *[None] * (len(e.node.outputs) - 1)]


def quantization(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 1 per tensor, case 2 per channel."""
    if e.attribute("block_size", 0):
        raise CannotExpand("it has more than 5 axes, and scales per block", "Quantize per tensor.")
    results = flattened(e) if prod(e.shape(1)) == 1 else along_axis(1)(e)
    for result in results:  # layers are compared where they are quantized
        reshaped = None if result is None else result.producer()
        made = None if reshaped is None else reshaped.inputs[0]
        if made is not None:
            made.metadata_props[ELEMENTS_OF] = str(e.node.outputs[0].name)
    return results


def matmul(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 7."""
    a, b = e.shape(0), e.shape(1)
    result = _known_shape(e.node.outputs[0])
    if len(b) == 1:
        rows = e.reshape(e.input(0), [prod(a[:-1]), a[-1]])
        return [e.reshape(e.op("MatMul", rows, e.input(1)), result)]
    a = (1, *a) if len(a) == 1 else a
    lead = np.broadcast_shapes(a[:-2], b[:-2])
    out = [*lead, a[-2], b[-1]]
    if prod(b[:-2]) == 1:
        rows = e.reshape(e.input(0), [prod(a[:-1]), a[-1]])
        return [e.reshape(e.op("MatMul", rows, e.reshape(e.input(1), b[-2:])), result)]
    operands = [
        e.reshape(
            _repeated(e, e.input(i), _aligned(shape, len(out)), [*lead, *shape[-2:]]),
            [prod(lead), *shape[-2:]],
        )
        for i, shape in enumerate((a, b))
    ]
    return [e.reshape(e.op("MatMul", *operands), result)]


def reshape(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 8."""
    return [e.reshape(e.input(0), _known_shape(e.node.outputs[0]))]


def _same(
    e: Expansion, inputs: Sequence[ir.Value | None], *, outputs: int = 1, **changed: Any
) -> Any:
    """The node's own operator and attributes on other inputs."""
    attributes = {name: e.attribute(name) for name in e.node.attributes} | changed
    return e.op(e.node.op_type, *inputs, outputs=outputs, **attributes)


def _given(e: Expansion) -> list[ir.Value]:
    return [e.input(index) for index in range(len(e.node.inputs))]


def around(e: Expansion, value: ir.Value, shape: Dims, axis: int) -> ir.Value:
    """The value with three axes: all before, the axis, all after."""
    return e.reshape(value, [prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])])


def _aligned(shape: Dims, rank: int) -> list[int]:
    return [1] * (rank - len(shape)) + list(shape)


def _known_shape(value: ir.Value) -> list[int]:
    if value.shape is None or not all(isinstance(size, int) for size in value.shape):
        raise CannotExpand(
            f"the shape of '{value.name}' is not static",
            "Give fixed input shapes ([model] input_shapes, or --input-shape).",
        )
    return [int(size) for size in value.shape]  # type: ignore[arg-type]  # ints, checked above


def _runs(patterns: Sequence[Any]) -> list[list[int]]:
    """Adjacent axes with the same pattern; None goes with any."""
    runs: list[list[int]] = []
    current: Any = None
    for axis, pattern in enumerate(patterns):
        if runs and (pattern is None or current is None or pattern == current):
            runs[-1].append(axis)
        else:
            runs.append([axis])
            current = None
        current = pattern if current is None else current
    return runs
