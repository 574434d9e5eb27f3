"""ScatterND, ScatterElements and Scatter.

All are one problem: rows of a table (N, inner) are replaced by, or combined with, rows of updates
(K, inner), where `ids[k]` is the row that update k is for. Elements of a tensor are rows of one.

1. none, constant ids    one GATHER from table and updates, or CONCATENATION where the rows lie next
                         to each other
2. none, computed ids    the last update for each row, as ONNX Runtime has it, is the largest k:
                         UNSORTED_SEGMENT_MAX of the numbers k over the ids; a GATHER fetches those
                         updates, SELECT_V2 keeps the rows that have none
3. add                   SCATTER_ND, which adds what meets in one row, then ADD
4. mul, max, min         UNSORTED_SEGMENT_PROD, _MAX or _MIN, then the same with the table
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from edgewise.targets.android.builder import INT32
from edgewise.targets.android.call import NO_ACTIVATION, Call, integer_constant
from edgewise.targets.android.layout import Value, identity
from edgewise.targets.android.model import INT8, INT64, Array, Tensor
from edgewise.targets.android.ops.dtypes import cast, compute
from edgewise.targets.android.ops.elementwise import requantized
from edgewise.targets.android.ops.gather import row_numbers
from edgewise.targets.android.ops.indices import as_int32, computed_indices, constant_indices

#: reduction -> (kernel over the updates, kernel with the table)
_COMBINING = {
    "mul": ("UNSORTED_SEGMENT_PROD", "MUL"),
    "max": ("UNSORTED_SEGMENT_MAX", "MAXIMUM"),
    "min": ("UNSORTED_SEGMENT_MIN", "MINIMUM"),
}
_SMALL_INTEGERS = (np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.bool_))
_BOOL = np.dtype(np.bool_)


def scatter_obstacle(call: Call) -> str | None:
    """Only the form that moves data has an int8 form."""
    if call.attribute("reduction", "none") != "none":
        return "TFLite has no int8 kernel for its reduction"
    for index in (0, 2):
        if call.constant(index) is not None:
            found = integer_constant(call.context.plan, call.source(index), call.stored or INT8)
            if isinstance(found, str):
                return found
    return None


def lower_scatter_nd(call: Call) -> None:
    shape, depth = call.shape(0), call.shape(1)[-1]
    rows, inner = prod(shape[:depth]), shape[depth:]
    known = constant_indices(call, 1, shape[:depth])
    if known is not None:
        ids: Array | Tensor = row_numbers(known, shape).reshape(-1)
    else:
        ids = _computed_rows(call, shape[:depth])
    scatter_rows(call, (rows, prod(inner)), ids)


def _computed_rows(call: Call, sizes: tuple[int, ...]) -> Tensor:
    """Numbers of rows from computed coordinates: a product and a sum in int32."""
    builder = call.builder
    indices = as_int32(call, builder.linear(computed_indices(call, 1, sizes)))
    count = prod(indices.shape[:-1])
    if len(sizes) == 1:
        return builder.reshape(indices.tensor, (count,))
    steps = builder.ints([prod(sizes[axis + 1 :]) for axis in range(len(sizes))])
    flat = builder.reshape(indices.tensor, (count, len(sizes)))
    places = builder.add(
        "MUL", [flat, steps], flat.shape, INT32, fusedActivationFunction=NO_ACTIVATION
    )
    return builder.add("SUM", [places, builder.ints([1])], (count,), INT32, keepDims=False)


def lower_scatter_elements(call: Call) -> None:
    """Every element is a row of one."""
    shape, wanted = call.shape(0), call.shape(1)
    axis = int(call.attribute("axis", 0)) % len(shape)
    places = np.indices(wanted, sparse=True)
    step = prod(shape[axis + 1 :])
    base = sum(
        (places[a] * prod(shape[a + 1 :]) for a in range(len(shape)) if a != axis),
        start=np.zeros(wanted, np.int64),
    ).astype(np.int32)
    known = constant_indices(call, 1, shape[axis])
    if known is not None:
        scatter_rows(call, (prod(shape), 1), (base + known * step).reshape(-1))
        return
    builder = call.builder
    indices = as_int32(call, builder.linear(computed_indices(call, 1, shape[axis])))
    if step != 1:
        indices = builder.like(
            "MUL", [indices, builder.ints(step)], indices, fusedActivationFunction=NO_ACTIVATION
        )
    if base.any():
        indices = builder.like(
            "ADD",
            [indices, builder.constant(base)],
            indices,
            fusedActivationFunction=NO_ACTIVATION,
        )
    scatter_rows(call, (prod(shape), 1), builder.reshape(indices.tensor, (base.size,)))


def scatter_rows(
    call: Call, shape: tuple[int, int], ids: Array | Tensor, updates_index: int = 2
) -> None:
    """Cases 1 to 4 for the table, input 0 seen as `shape`, and the updates."""
    builder = call.builder
    table, updates = _operand(call, 0), _operand(call, updates_index)
    count = ids.shape[0]
    data = builder.reshape(table.tensor, shape)
    rows = builder.reshape(updates.tensor, (count, shape[1]))
    reduction = call.attribute("reduction", "none")
    if reduction == "none":
        if isinstance(ids, np.ndarray):
            out = _replaced_known(call, data, rows, ids)
        else:
            out = _replaced(call, data, rows, ids)
    elif reduction == "add":
        out = _in_integers(call, data, rows, ids, _added)
    elif reduction in _COMBINING:
        if data.dtype == INT64:
            raise call.refuse(
                f"TFLite has no int64 kernel for its reduction '{reduction}'",
                "Use int32 or float32.",
            )
        out = _in_integers(call, data, rows, ids, _combined)
    else:
        raise call.refuse(f"its reduction is '{reduction}'", "Use none, add, mul, max or min.")
    dims = call.output_shape()
    call.finish(Value(builder.reshape(out, dims), identity(len(dims))))


def _operand(call: Call, index: int) -> Value:
    """An input in ONNX order, in int8 at the parameters of the output."""
    value = call.builder.linear(call.numbers(index))
    wanted = call.wanted()
    return value if wanted is None else requantized(call, value, wanted)


def _replaced_known(call: Call, data: Tensor, rows: Tensor, ids: Array) -> Tensor:
    """Case 1. Of several updates for one row the last holds."""
    builder = call.builder
    start, count = (int(ids[0]), len(ids)) if len(ids) else (0, 0)
    if np.array_equal(ids, np.arange(start, start + count)):
        parts = [(data, 0, start), (rows, 0, count), (data, start + count, data.shape[0])]
        tensors = [_rows_between(call, *part) for part in parts if part[1] < part[2]]
        return tensors[0] if len(tensors) == 1 else _joined(call, tensors)
    sources = np.arange(data.shape[0], dtype=np.int32)
    sources[ids] = np.arange(count, dtype=np.int32) + data.shape[0]
    both = _joined(call, [data, rows])
    order = builder.constant(sources)
    return builder.add(
        "GATHER", [both, order], data.shape, data.dtype, data.quantization, axis=0, batchDims=0
    )


def _rows_between(call: Call, table: Tensor, start: int, end: int) -> Tensor:
    if (start, end) == (0, table.shape[0]):
        return table
    builder = call.builder
    shape = (end - start, table.shape[1])
    begin, size = builder.ints([start, 0]), builder.ints(shape)
    return builder.add("SLICE", [table, begin, size], shape, table.dtype, table.quantization)


def _joined(call: Call, tensors: list[Tensor]) -> Tensor:
    first = tensors[0]
    shape = (sum(t.shape[0] for t in tensors), first.shape[1])
    return call.builder.add(
        "CONCATENATION",
        tensors,
        shape,
        first.dtype,
        first.quantization,
        axis=0,
        fusedActivationFunction=NO_ACTIVATION,
    )


def _replaced(call: Call, data: Tensor, rows: Tensor, ids: Tensor) -> Tensor:
    """Case 2. A row without an update gets the lowest int32."""
    builder = call.builder
    total, inner = data.shape
    numbers = builder.constant(np.arange(rows.shape[0], dtype=np.int32))
    zero = builder.ints(0)
    last = builder.add("UNSORTED_SEGMENT_MAX", [numbers, ids, builder.ints(total)], (total,), INT32)
    valid = builder.add("MAXIMUM", [last, zero], (total,), INT32)
    fetched = builder.add(
        "GATHER", [rows, valid], data.shape, data.dtype, data.quantization, axis=0, batchDims=0
    )
    column = builder.reshape(last, (total, 1))
    replaced = builder.add("GREATER_EQUAL", [column, zero], (total, 1), _BOOL)
    return builder.add(
        "SELECT_V2", [replaced, fetched, data], (total, inner), data.dtype, data.quantization
    )


_Combine = Callable[[Call, Tensor, Tensor, Tensor], Tensor]


def _in_integers(
    call: Call, data: Tensor, rows: Tensor, ids: Array | Tensor, combine: _Combine
) -> Tensor:
    """Small integers are combined in int32: the same modulo 2**8 once they are cast back."""
    builder = call.builder
    known = builder.constant(ids.astype(np.int32)) if isinstance(ids, np.ndarray) else ids
    if data.dtype not in _SMALL_INTEGERS:
        return combine(call, data, rows, known)
    wide, updates = (cast(call, Value(t, identity(2)), INT32).tensor for t in (data, rows))
    combined = Value(combine(call, wide, updates, known), identity(2))
    return cast(call, combined, data.dtype).tensor


def _added(call: Call, data: Tensor, rows: Tensor, ids: Tensor) -> Tensor:
    """Case 3."""
    builder = call.builder
    column = builder.reshape(ids, (ids.shape[0], 1))
    shape = builder.ints(data.shape)
    sums = builder.add("SCATTER_ND", [column, rows, shape], data.shape, data.dtype)
    terms = [Value(data, identity(2)), Value(sums, identity(2))]
    total = compute(call, "ADD", terms, identity(2), fusedActivationFunction=NO_ACTIVATION)
    return total.tensor


def _combined(call: Call, data: Tensor, rows: Tensor, ids: Tensor) -> Tensor:
    """Case 4. A row without an update gets the neutral number of the kernel, which for max and min
    is finite in float32: such rows are kept as they are, because theirs may be infinite."""
    builder = call.builder
    segment, kind = _COMBINING[call.attribute("reduction")]
    number = builder.ints(data.shape[0])
    found = builder.add(segment, [rows, ids, number], data.shape, data.dtype)
    if kind == "MUL":
        return builder.add(
            kind, [data, found], data.shape, data.dtype, fusedActivationFunction=NO_ACTIVATION
        )
    out = builder.add(kind, [data, found], data.shape, data.dtype)
    if data.dtype.kind != "f":
        return out
    limits = np.finfo(data.dtype)
    neutral = builder.float_scalar(float(limits.min if kind == "MAXIMUM" else limits.max))
    untouched = builder.add("EQUAL", [found, neutral], data.shape, _BOOL)
    return builder.add("SELECT_V2", [untouched, data, out], data.shape, data.dtype)
