"""TopK: TOPK_V2 finds the largest along the last axis, sorted, the first of equal elements first.

1. largest    TOPK_V2; the axis is brought last
2. smallest   the same of an order-reversing copy, which is undone on the values: `-x` for floats,
              `-1 - x` for integers (it cannot overflow); the int8 kernel of NEG heeds no zero point
8-bit integers that stand for no real numbers go through int32. Indices are int32 in TFLite.
"""

from __future__ import annotations

from edgewise.targets.android.builder import INT32
from edgewise.targets.android.call import NO_ACTIVATION, Call
from edgewise.targets.android.layout import Value, identity
from edgewise.targets.android.model import INT64, Tensor
from edgewise.targets.android.ops.dtypes import cast, compute, scalar


def topk_obstacle(call: Call) -> str | None:
    if not call.attribute("largest", 1):
        return "TFLite has no int8 kernel that finds the smallest elements"
    return None


def lower_topk(call: Call) -> None:
    builder = call.builder
    x = call.operand(0)
    axis = int(call.attribute("axis", -1)) % x.rank
    count = int(call.known(1, "number of elements").reshape(()))
    if count > x.shape[axis]:
        raise call.refuse(
            f"it asks for {count} of {x.shape[axis]} elements", "Ask for no more than there are."
        )
    x = builder.reorder(x, (*(a for a in x.perm if a != axis), axis))
    largest = bool(call.attribute("largest", 1))
    narrow = x.quantization is None and x.dtype.itemsize == 1
    data = cast(call, x, INT32).tensor if narrow else x.tensor
    if not largest:
        data = _reversed_order(call, data)
    shape = (*data.shape[:-1], count)
    found = Tensor(shape, data.dtype, data.quantization)
    places = Tensor(shape, INT32)
    inputs = [data, builder.ints(count)]
    builder.graph.add("TOPK_V2", inputs, [found, places], builder.origin, None, {})
    values = found if largest else _reversed_order(call, found)
    result = Value(values, x.perm)
    call.finish(cast(call, result, x.dtype) if narrow else result)
    if len(call.node.outputs) > 1:
        call.finish(cast(call, Value(places, x.perm), INT64), 1)


def _reversed_order(call: Call, data: Tensor) -> Tensor:
    """Case 2; it is its own inverse."""
    value = Value(data, identity(len(data.shape)))
    if data.dtype.kind == "f":
        return compute(call, "NEG", [value], value.perm).tensor
    terms = [scalar(call, -1, data.dtype), value]
    return compute(call, "SUB", terms, value.perm, fusedActivationFunction=NO_ACTIVATION).tensor
