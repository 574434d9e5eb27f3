"""Products of matrices of int32 or int64, for which TFLite has no kernel.

Both sides are spread over one more axis, (.., m, k, 1) and (.., 1, k, n), multiplied, and summed
along k: exact, and modulo 2^n as ONNX has it, at the price of a tensor of m k n elements.
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import Value, identity
from edgewise.targets.android.ops.dtypes import compute, scalar

#: products that are held at once, 256 MB of int32
_MOST_PRODUCTS = 2**26


def lower_integer_product(call: Call) -> None:
    """MatMul, or Gemm whose factors are integers."""
    a, b = (call.builder.linear(call.numbers(index)) for index in (0, 1))
    if call.op_type == "MatMul":
        call.finish(_product(call, a, b))
        return
    a, b = (
        call.builder.linear(value.transposed((1, 0)) if call.attribute(name, 0) else value)
        for value, name in ((a, "transA"), (b, "transB"))
    )
    total = _scaled(call, _product(call, a, b), "alpha")
    if call.has(2):
        bias = call.builder.linear(call.numbers(2))
        total = compute(call, "ADD", [total, _scaled(call, bias, "beta")], total.perm)
    call.finish(total)


def _scaled(call: Call, value: Value, name: str) -> Value:
    factor = float(call.attribute(name, 1.0))
    if not factor.is_integer():
        raise call.refuse(f"its {name} is {factor} beside integers", "Cast to float32.")
    if factor == 1:
        return value
    return compute(call, "MUL", [value, scalar(call, factor, value.dtype)], value.perm)


def _product(call: Call, a: Value, b: Value) -> Value:
    """Operands of rank 1 are a row and a column, whose axis of size 1 is not in the result."""
    builder = call.builder
    left = a.shape if a.rank > 1 else (1, *a.shape)
    right = b.shape if b.rank > 1 else (*b.shape, 1)
    batch = np.broadcast_shapes(left[:-2], right[:-2])
    if int(np.prod((*batch, left[-2], *right[-2:]))) > _MOST_PRODUCTS:
        raise call.refuse(
            f"TFLite has no product of {a.dtype} matrices, and these are too large to spread out",
            "Cast to float32 in the model.",
        )
    columns = builder.reshape(a.tensor, (*left, 1))
    rows = builder.reshape(b.tensor, (*right[:-2], 1, *right[-2:]))
    spread = [Value(tensor, identity(len(tensor.shape))) for tensor in (columns, rows)]
    rank = max(value.rank for value in spread)
    products = compute(call, "MUL", spread, identity(rank))
    shape = (*batch, left[-2], right[-1])
    total = compute(
        call,
        "SUM",
        [products],
        identity(rank - 1),
        shape,
        parameters=[builder.ints([rank - 2])],
        keepDims=False,
    )
    wanted = call.output_shape() if call.op_type == "MatMul" else shape
    return Value(builder.reshape(total.tensor, wanted), identity(len(wanted)))
