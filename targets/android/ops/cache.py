"""TensorScatter (opset 24): updates written into a cache along one axis, from an index per batch.

1. one batch, computed index   DYNAMIC_UPDATE_SLICE, the form that decoders with a static cache want
2. else                        rows of the cache are replaced, as ScatterND does; in circular mode
                               their numbers are taken modulo the length of the cache
"""

from __future__ import annotations

from math import prod

import numpy as np

from edgewise.targets.android.builder import INT32
from edgewise.targets.android.call import NO_ACTIVATION, Call
from edgewise.targets.android.model import Array, Tensor
from edgewise.targets.android.ops.indices import as_int32
from edgewise.targets.android.ops.scatter import scatter_rows


def lower_tensor_scatter(call: Call) -> None:
    shape = call.shape(0)
    axis = int(call.attribute("axis", -2)) % len(shape)
    circular = call.attribute("mode", "linear") == "circular"
    starts = call.constant(2) if call.has(2) else np.zeros(shape[0], np.int64)
    if starts is None and shape[0] == 1 and not circular:
        _update_slice(call, axis)
        return
    length = call.shape(1)[axis]
    modulus = shape[axis] if circular else None
    bases = np.arange(prod(shape[:axis])).reshape(shape[0], -1, 1) * shape[axis]
    steps = np.arange(length)
    if starts is not None:
        places = starts.reshape(-1, 1, 1) + steps
        if not circular and (places >= shape[axis]).any():
            raise call.refuse("it writes past the end of the cache", "Use a longer cache.")
        ids: Array | Tensor = (bases + (places % shape[axis])).reshape(-1)
    else:
        ids = _computed_rows(call, bases, steps, modulus)
    scatter_rows(call, (prod(shape[: axis + 1]), prod(shape[axis + 1 :])), ids, updates_index=1)


def _update_slice(call: Call, axis: int) -> None:
    """Case 1."""
    builder = call.builder
    cache, update = call.numbers(0), call.numbers(1)
    update = builder.reorder(update, cache.perm)
    start = as_int32(call, call.operand(2)).tensor
    physical = cache.axis(axis)
    before, after = builder.ints([0] * physical), builder.ints([0] * (cache.rank - physical - 1))
    parts = [part for part in (before, start, after) if part.shape[0]]
    begin = start
    if len(parts) > 1:
        begin = builder.add(
            "CONCATENATION",
            parts,
            (cache.rank,),
            INT32,
            axis=0,
            fusedActivationFunction=NO_ACTIVATION,
        )
    call.finish(builder.like("DYNAMIC_UPDATE_SLICE", [cache, update, begin], cache))


def _computed_rows(call: Call, bases: Array, steps: Array, modulus: int | None) -> Tensor:
    """Numbers of rows (batch, axes before, length), flat."""
    builder = call.builder
    batch, before, _ = bases.shape
    start = builder.reshape(as_int32(call, call.operand(2)).tensor, (batch, 1))
    row = builder.constant(steps.astype(np.int32)[None])
    shape: tuple[int, ...] = (batch, len(steps))
    places = builder.add("ADD", [start, row], shape, INT32, fusedActivationFunction=NO_ACTIVATION)
    if modulus is not None:
        places = builder.add("FLOOR_MOD", [places, builder.ints(modulus)], shape, INT32)
    if bases.size > 1:
        middle = builder.reshape(places, (batch, 1, len(steps)))
        shape = (batch, before, len(steps))
        base = builder.constant(bases.astype(np.int32))
        places = builder.add(
            "ADD", [middle, base], shape, INT32, fusedActivationFunction=NO_ACTIVATION
        )
    return builder.reshape(places, (prod(shape),))
