"""OneHot: ONE_HOT, after negative indices are counted from the end.

An index outside of [-depth, depth - 1] gives a row of off-values in ONNX, and in TFLite too: below
zero it stays so after the depth is added. The kernel writes the new axis anywhere; here the indices
are in ONNX order.
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import Value, identity
from edgewise.targets.android.model import INT64, Tensor
from edgewise.targets.android.ops.dtypes import cast
from edgewise.targets.android.ops.indices import computed_indices, wrapped

_INDEX_DTYPES = ("int32", "int64")


def lower_one_hot(call: Call) -> None:
    builder = call.builder
    depth = int(call.known(1, "depth").reshape(()))
    rank = len(call.output_shape())
    axis = int(call.attribute("axis", -1)) % rank
    values = builder.linear(call.operand(2)).tensor
    off, on = (_element(call, values, position) for position in (0, 1))
    inputs = [_indices(call, depth).tensor, builder.ints(depth), on, off]
    y = builder.add("ONE_HOT", inputs, call.output_shape(), values.dtype, axis=axis)
    call.finish(Value(y, identity(rank)))


def _indices(call: Call, depth: int) -> Value:
    builder = call.builder
    known = call.constant(0)
    if known is not None:
        whole = known.astype(np.int64)
        tensor = builder.constant(np.where(whole < 0, whole + depth, whole))
        return Value(tensor, identity(whole.ndim))
    value = builder.linear(call.numbers(0))
    if value.dtype.name not in _INDEX_DTYPES:
        return wrapped(call, cast(call, value, INT64), depth)
    return builder.linear(computed_indices(call, 0, depth))


def _element(call: Call, pair: Tensor, position: int) -> Tensor:
    """A scalar out of the two values."""
    builder = call.builder
    if pair.data is not None:
        return builder.constant(pair.data[position])
    begin, size = builder.ints([position]), builder.ints([1])
    return builder.reshape(builder.add("SLICE", [pair, begin, size], (1,), pair.dtype), ())
