"""Concat, Split and Slice. In int8 all ends of one operator share scale and zero point.

1. Concat    inputs of other parameters are requantized first
2. Split     one SLICE per output
3. Slice     SLICE, or STRIDED_SLICE for steps; axes with a negative step are reversed first
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from edgewise.targets.android.call import NO_ACTIVATION, Call, integer_constant
from edgewise.targets.android.layout import Value, identity
from edgewise.targets.android.model import INT8, Tensor
from edgewise.targets.android.ops.elementwise import requantized
from edgewise.targets.android.ops.reverse import reverse_axes

#: XNNPACK refuses a whole graph with a concatenation of more axes
_MAX_RANK = 6


def concat_obstacle(call: Call) -> str | None:
    for value in call.node.inputs:
        if value is not None and call.context.plan.constant(value) is not None:
            found = integer_constant(call.context.plan, value, call.stored or INT8)
            if isinstance(found, str):
                return found
    return None


def lower_concat(call: Call) -> None:
    """Case 1."""
    indices = [i for i in range(len(call.node.inputs)) if 0 not in call.shape(i)]
    computed = {i: call.operand(i) for i in indices if call.constant(i) is None}
    rank = len(call.output_shape())
    linear = identity(rank)
    perm = next((v.perm for v in computed.values() if v.perm != linear), linear)
    wanted = call.wanted()
    values = []
    for index in indices:
        if index in computed:
            value = call.builder.reorder(computed[index], perm)
        else:
            value = call.constant_operand(index, perm)
        values.append(value if wanted is None else requantized(call, value, wanted))
    if len(values) == 1:
        call.finish(values[0])
        return
    axis = perm.index(int(call.attribute("axis")) % rank)
    tensors = [value.tensor for value in values]
    shape = [call.output_shape()[a] for a in perm]
    if rank > _MAX_RANK:  # all that matters is what lies before and after the axis
        tensors = [call.builder.reshape(t, _around(t.shape, axis)) for t in tensors]
        joined = _concatenation(call, tensors, _around(shape, axis), 1)
        call.finish(Value(call.builder.reshape(joined, shape), perm))
        return
    call.finish(Value(_concatenation(call, tensors, shape, axis), perm))


def _concatenation(
    call: Call, tensors: Sequence[Tensor], shape: Sequence[int], axis: int
) -> Tensor:
    first = tensors[0]
    return call.builder.add(
        "CONCATENATION",
        tensors,
        shape,
        first.dtype,
        first.quantization,
        axis=axis,
        fusedActivationFunction=NO_ACTIVATION,
    )


def _around(shape: Sequence[int], axis: int) -> tuple[int, int, int]:
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


def lower_split(call: Call) -> None:
    """Case 2."""
    x = call.operand(0)
    axis = int(call.attribute("axis", 0)) % x.rank
    start = 0
    for index in range(len(call.node.outputs)):
        size = call.output_shape(index)[axis]
        begin = [start if a == axis else 0 for a in range(x.rank)]
        dims = [size if a == axis else dim for a, dim in enumerate(x.shape)]
        call.finish(slice_value(call, x, begin, dims), index)
        start += size


def slice_value(call: Call, x: Value, begin: Sequence[int], size: Sequence[int]) -> Value:
    """A box out of `x`; begin and size per ONNX axis."""
    if tuple(size) == x.shape:
        return x
    builder = call.builder
    dims = x.physical(size)
    start = builder.ints(x.physical(begin))
    return builder.like("SLICE", [x, start, builder.ints(dims)], x, shape=dims)


def lower_slice(call: Call) -> None:
    """Case 3."""
    x = call.operand(0)
    starts = call.known(1, "starts").tolist()
    ends = call.known(2, "ends").tolist()
    axes = call.known(3, "axes").tolist() if call.has(3) else list(range(len(starts)))
    steps = call.known(4, "steps").tolist() if call.has(4) else [1] * len(starts)
    begin, size, stride = [0] * x.rank, list(x.shape), [1] * x.rank
    reverse = []
    for start, end, onnx_axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = int(onnx_axis) % x.rank
        span = _span(start, end, step, x.shape[axis])
        if step < 0:
            reverse.append(axis)
            first = x.shape[axis] - 1 - span.start
        else:
            first = span.start
        begin[axis], size[axis], stride[axis] = first, len(span), abs(step)
    if reverse:
        x = reverse_axes(call, x, reverse)
    if all(step == 1 for step in stride):
        call.finish(slice_value(call, x, begin, size))
        return
    end = [b + (n - 1) * s + 1 for b, n, s in zip(begin, size, stride, strict=True)]
    tensors = [call.builder.ints(x.physical(part)) for part in (begin, end, stride)]
    call.finish(
        call.builder.like(
            "STRIDED_SLICE",
            [x, *tensors],
            x,
            shape=x.physical(size),
            beginMask=0,
            endMask=0,
            ellipsisMask=0,
            newAxisMask=0,
            shrinkAxisMask=0,
        )
    )


def _span(start: int, end: int, step: int, size: int) -> range:
    """The elements that a slice takes. ONNX differs from Python in one point: with a negative step
    a start before the first element becomes that element."""
    start = start + size if start < 0 else start
    end = end + size if end < 0 else end
    if step > 0:
        return range(min(max(start, 0), size), min(max(end, 0), size), step)
    return range(min(max(start, 0), size - 1), min(max(end, -1), size - 1), step)
