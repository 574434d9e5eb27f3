"""TopK, ArgMax, ArgMin and OneHot, by rules that say which of equal elements is meant.

MIL gives no order to equal elements: `reduce_argmax` may give any of their positions, and so may
`topk`. ONNX means the first (ArgMax and ArgMin, if told so, the last), and quantized scores are
often equal. With n elements along the axis:
  1. ArgMax    e_i = 1 where x_i equals the largest element, else 0; then the first position is
               n - max(e_i (n - i)), and the last is max(e_i i); ArgMin with the smallest
  2. TopK      all elements are sorted by `topk`, whose indices p_j are right but for the order of
               equal ones. Sorted place j gets the number of its value, d_j = 0, 1, 2, ..., cut off
               at k, and d_j n + p_j are different whole numbers that are sorted again: those of
               equal values by their position. Their remainders modulo n are the positions.
  3. OneHot    positions are compared with 0 .. n - 1, so that an index out of range is hot nowhere;
               MIL does not say what `one_hot` makes of it. The values are looked up, so that
               infinite ones are no trouble
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var, types
from edgewise.targets.apple.call import Call, Operand
from edgewise.targets.apple.ops.indices import counted
from edgewise.targets.apple.ops.numbers import element_type
from edgewise.targets.apple.ops.storage import narrowed, widened

#: up to here fp16 holds every whole number, so that positions need not leave the Neural Engine
_WHOLE_IN_HALF = 2048
_INT32_MAX = np.iinfo(np.int32).max


def arg_extremum(call: Call) -> Operand:
    """Case 1."""
    x, shape = widened(call.var(0)), call.shape(0)
    axis = call.attribute("axis", 0) % len(shape)
    largest = call.node.op_type == "ArgMax"
    last = bool(call.attribute("select_last_index", 0))
    reduce = mb.reduce_max if largest else mb.reduce_min
    equal = mb.equal(x=x, y=reduce(x=x, axes=[axis], keep_dims=True))
    count = shape[axis]
    in_float = count <= _WHOLE_IN_HALF and x.dtype != types.int32
    number: Any = np.float32 if in_float else np.int32
    order = np.arange(count) if last else count - np.arange(count)
    weights = order.reshape([-1 if a == axis else 1 for a in range(len(shape))]).astype(number)
    marked = mb.mul(x=mb.cast(x=equal, dtype="fp32" if in_float else "int32"), y=weights)
    keep = bool(call.attribute("keepdims", 1))
    found = mb.reduce_max(x=marked, axes=[axis], keep_dims=keep)
    if not last:
        found = mb.sub(x=number(count), y=found)
    return mb.cast(x=found, dtype="int32", name=call.name) if in_float else found


def top_k(call: Call) -> Sequence[Operand]:
    """Case 2; plain `topk` where nobody asks for positions."""
    given, shape = call.var(0), call.shape(0)
    k = call.ints(1, "number of elements")[0]
    axis = call.attribute("axis", -1) % len(shape)
    size = shape[axis]
    if not 0 < k <= size:
        call.refuse(f"it asks for {k} of {size} elements", "Ask for 1 up to the axis length.")
    ascending = not call.attribute("largest", 1)
    x = widened(given)
    if not call.wants_output(1):
        values, places = mb.topk(x=x, k=k, axis=axis, ascending=ascending)
        return [narrowed(values, given.dtype), places]
    if (k + 1) * size > _INT32_MAX:
        call.refuse(
            f"the first of equal elements cannot be told among {size}", "Ask for fewer elements."
        )
    sorted_values, places = mb.topk(x=x, k=size, axis=axis, ascending=ascending)
    values = _first(sorted_values, k, axis)
    if size == 1:
        return [narrowed(values, given.dtype), places]
    numbers = mb.minimum(x=_numbered(sorted_values, axis), y=np.int32(k))
    keys = mb.add(x=mb.mul(x=numbers, y=np.int32(size)), y=places)
    ordered, _ = mb.topk(x=keys, k=k, axis=axis, ascending=True)
    found = mb.mod(x=ordered, y=np.int32(size), name=call.name)
    return [narrowed(values, given.dtype), found]


def _numbered(values: Var, axis: int) -> Var:
    """How many different values come before each one of a sorted axis."""
    shape = list(values.shape)
    size = shape[axis]
    later = _slice(values, axis, 1, size)
    differs = mb.cast(x=mb.not_equal(x=later, y=_slice(values, axis, 0, size - 1)), dtype="int32")
    shape[axis] = 1
    first = np.zeros(shape, np.int32)
    return mb.cumsum(x=mb.concat(values=[first, differs], axis=axis), axis=axis)


def _first(x: Var, count: int, axis: int) -> Var:
    return x if count == x.shape[axis] else _slice(x, axis, 0, count)


def _slice(x: Var, axis: int, start: int, end: int) -> Var:
    begins, ends = [0] * x.rank, list(x.shape)
    begins[axis], ends[axis] = start, end
    return mb.slice_by_index(x=x, begin=begins, end=ends)


def one_hot(call: Call) -> Operand:
    """Case 3. `values` are those of cold and hot places; ONNX cuts float indices off."""
    depth = call.ints(1, "depth")[0]
    rank = call.rank(0) + 1
    axis = call.attribute("axis", -1) % rank
    indices = widened(call.var(0))
    if indices.dtype != types.int32:
        indices = mb.cast(x=indices, dtype="int32")
    indices = counted(call, 0, indices, np.array(depth))
    places = np.arange(depth, dtype=np.int32).reshape([-1 if a == axis else 1 for a in range(rank)])
    hot = mb.equal(x=mb.expand_dims(x=indices, axes=[axis]), y=places)
    if call.is_constant(2):
        cold_value, hot_value = call.array(2, "values").tolist()
        if (cold_value, hot_value) == (0, 1):
            dtype = element_type(call, 2)
            kind = {"f": "fp32", "b": "bool"}.get(dtype.kind, "int32")
            return hot if kind == "bool" else mb.cast(x=hot, dtype=kind, name=call.name)
    values = call.var(2)
    y = mb.gather(x=widened(values), indices=mb.cast(x=hot, dtype="int32"), axis=0, name=call.name)
    return narrowed(y, values.dtype)
