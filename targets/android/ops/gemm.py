"""Gemm and MatMul.

1. constant right side        FULLY_CONNECTED, weights (outputs, inputs); alpha goes into the
                              weights, beta into the bias; axes before the last one are kept
2. computed right side        BATCH_MATMUL, whose flags absorb a transposed operand
3. integers: see `integer_product`
4. Gemm with a computed right side, or a bias that is no constant vector: an ADD follows
5. case 1 with integer weights and a float input: see `hybrid`
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from edgewise.targets.android.call import NO_ACTIVATION, Call
from edgewise.targets.android.layout import Value, identity
from edgewise.targets.android.model import Array, Tensor
from edgewise.targets.android.ops.hybrid import HybridWeights, hybrid_tensors, hybrid_weights
from edgewise.targets.android.ops.integer_product import lower_integer_product
from edgewise.targets.android.ops.weights import int8_obstacle, weight_tensors

_PER_CHANNEL_VERSION = 12
#: what the kernel of BATCH_MATMUL takes
_MOST_AXES = 5


def gemm_int8_obstacle(call: Call) -> str | None:
    shape = call.shape(1)
    channels = shape[0] if call.attribute("transB", 0) else shape[1]
    if call.constant(1) is None:
        return "its right side is computed" if call.has(2) or _scaled(call) else None
    if call.has(2) and (not _is_vector_bias(call, channels) or call.attribute("beta", 1.0) != 1.0):
        return "its bias is not a plain constant vector"
    axis = 0 if call.attribute("transB", 0) else 1
    return int8_obstacle(call, axis, channels, float(call.attribute("alpha", 1.0)))


def lower_gemm(call: Call) -> None:
    if call.output_dtype().kind in "iu" and not call.int8:
        lower_integer_product(call)
        return
    transposed_a = bool(call.attribute("transA", 0))
    a = call.operand(0)
    a = a.transposed((1, 0)) if transposed_a else a
    if call.constant(1) is None:
        _gemm_computed(call, a)
        return
    transposed_b = bool(call.attribute("transB", 0))
    shape = call.known(1, "right side").shape
    channels = shape[0] if transposed_b else shape[1]
    fits = not call.has(2) or _is_vector_bias(call, channels)
    if fits and (not call.has(2) or call.attribute("beta", 1.0) == 1.0):
        y = _fully_connected(call, a, transposed_b, float(call.attribute("alpha", 1.0)))
    else:
        y = _gemm_computed_bias(call, a, transposed_b)
    call.finish(y)


def _scaled(call: Call) -> bool:
    return bool(call.attribute("alpha", 1.0) != 1.0 or call.attribute("beta", 1.0) != 1.0)


def _is_vector_bias(call: Call, channels: int) -> bool:
    bias = call.constant(2)
    if bias is None:
        return False
    leading = int(np.prod(bias.shape[:-1]))
    return leading == 1 and bias.size in (1, channels)


def _fully_connected(call: Call, a: Value, transposed_b: bool, alpha: float) -> Value:
    """Case 1, with the bias inside the operator."""
    builder = call.builder
    a = builder.linear(a)
    order = call.context.column_orders.get(call.source(0))
    shape = call.shape(1)
    channels = shape[0] if transposed_b else shape[-1]

    def arrange(weights: Array) -> Array:
        rows = weights if transposed_b else weights.T
        return rows if order is None else rows[:, order]

    hybrid = hybrid_weights(call, transposed_b, alpha)
    if isinstance(hybrid, HybridWeights):
        return _hybrid(call, a, hybrid)
    if hybrid is not None:
        call.note("float-weights", f"its weights are stored as float32: {hybrid}")
    weights, bias = weight_tensors(call, arrange, 0 if transposed_b else 1, 0, channels, alpha)
    quantization = weights.quantization
    per_channel = quantization is not None and not quantization.is_per_tensor
    shape_out = (*a.shape[:-1], channels)
    return call.write(
        "FULLY_CONNECTED",
        [a, weights, bias],
        identity(a.rank),
        shape=shape_out,
        version=_PER_CHANNEL_VERSION if per_channel else None if a.rank == 2 else 5,
        fusedActivationFunction=call.fused_activation(),
        keepNumDims=a.rank != 2,
    )


def _hybrid(call: Call, a: Value, found: HybridWeights) -> Value:
    """Case 5."""
    channels = found.weights.shape[0]
    order = call.context.column_orders.get(call.source(0))
    if order is not None:  # never with blocks, see `shape`
        found = replace(found, weights=found.weights[:, order])
    if found.rounded:
        call.note(
            "rounded-scales",
            f"its block scales are rounded to bfloat16, by up to {found.rounded:.2%}",
            "The kernels hold no more; quantize with such scales to have them exact.",
        )
    weights, bias = hybrid_tensors(call, found, channels)
    return call.write(
        "FULLY_CONNECTED",
        [a, weights, bias],
        identity(a.rank),
        shape=(*a.shape[:-1], channels),
        version=found.version,
        fusedActivationFunction=call.fused_activation(),
        keepNumDims=a.rank != 2,
        asymmetricQuantizeInputs=True,
    )


def _gemm_computed_bias(call: Call, a: Value, transposed_b: bool) -> Value:
    """Case 4 with constant weights (float only): the product, then the scaled bias."""
    builder = call.builder
    weights = call.known(1, "right side")
    rows = weights if transposed_b else weights.T
    alpha = np.float32(call.attribute("alpha", 1.0))
    a = builder.linear(a)
    order = call.context.column_orders.get(call.source(0))
    rows = rows if order is None else rows[:, order]
    product = call.write(
        "FULLY_CONNECTED",
        [
            a,
            builder.constant((rows * alpha).astype(np.float32), call.source(1).name or ""),
            builder.constant(np.zeros(rows.shape[0], np.float32)),
        ],
        identity(2),
        fusedActivationFunction=NO_ACTIVATION,
        keepNumDims=False,
    )
    return _add_bias(call, product)


def _gemm_computed(call: Call, a: Value) -> None:
    """Case 4 with a computed right side."""
    b = call.operand(1)
    b = b.transposed((1, 0)) if call.attribute("transB", 0) else b
    product = _batch_matmul(call, a, b)
    alpha = float(call.attribute("alpha", 1.0))
    if alpha != 1.0:
        factor = call.builder.float_scalar(alpha)
        product = call.builder.like(
            "MUL", [product, factor], product, fusedActivationFunction=NO_ACTIVATION
        )
    call.finish(_add_bias(call, product) if call.has(2) else product)


def _add_bias(call: Call, product: Value) -> Value:
    builder, beta = call.builder, float(call.attribute("beta", 1.0))
    known = call.constant(2)
    if known is not None:
        bias = builder.constant((known * np.float32(beta)).astype(np.float32))
    else:
        value = builder.linear(call.operand(2))
        if beta != 1.0:
            factor = builder.float_scalar(beta)
            value = builder.like("MUL", [value, factor], value, fusedActivationFunction=0)
        bias = value.tensor
    return builder.like(
        "ADD", [product, bias], product, fusedActivationFunction=call.fused_activation()
    )


def matmul_int8_obstacle(call: Call) -> str | None:
    if call.constant(0) is not None:
        return "its left side is constant"
    if call.constant(1) is None:
        return None if call.operand(1).quantization is not None else "its right side is float"
    if len(call.shape(1)) != 2 or len(call.shape(0)) < 2:
        return "its right side is not a matrix"
    return int8_obstacle(call, 1, call.shape(1)[1])


def lower_matmul(call: Call) -> None:
    if call.output_dtype().kind in "iu" and not call.int8:
        lower_integer_product(call)
        return
    if call.constant(1) is not None and len(call.shape(1)) == 2 and len(call.shape(0)) > 1:
        call.finish(_fully_connected(call, call.operand(0), False, 1.0))
        return
    a, b = call.operand(0), call.operand(1)
    builder = call.builder
    if a.rank == 1:
        a = Value(builder.reshape(a.tensor, (1, *a.tensor.shape)), identity(2))
    vector_b = b.rank == 1
    if vector_b:
        b = Value(builder.reshape(b.tensor, (*b.tensor.shape, 1)), identity(2))
    product = _batch_matmul(call, a, b)
    wanted = call.output_shape()
    call.finish(Value(builder.reshape(product.tensor, wanted), identity(len(wanted))))


def _batch_matmul(call: Call, a: Value, b: Value) -> Value:
    """Case 2: the last two axes of an operand may be swapped in memory at no cost.

    XNNPACK computes nonsense when both sides are one tensor (LiteRT 2.3): the right one is copied.
    More axes than the kernel takes become one.
    """
    builder = call.builder
    rank = max(a.rank, b.rank)
    a, swapped_a = _matrix(call, builder.with_rank(a, rank))
    b, swapped_b = _matrix(call, builder.with_rank(b, rank))
    if a.tensor is b.tensor:
        b = Value(builder.copy(b.tensor, b.tensor.shape), b.perm)
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*batch, a.shape[-2], b.shape[-1])
    if rank <= _MOST_AXES:
        return call.write(
            "BATCH_MATMUL", [a, b], identity(rank), shape=shape, adjX=swapped_a, adjY=swapped_b
        )
    product = call.write(
        "BATCH_MATMUL",
        [_one_batch_axis(call, a, batch), _one_batch_axis(call, b, batch)],
        identity(3),
        shape=(math.prod(batch), *shape[-2:]),
        adjX=swapped_a,
        adjY=swapped_b,
    )
    return Value(builder.reshape(product.tensor, shape), identity(rank))


def _one_batch_axis(call: Call, value: Value, batch: tuple[int, ...]) -> Tensor:
    """A single matrix, or as many as the batch has, along one axis in front."""
    builder, matrix = call.builder, value.tensor.shape[-2:]
    count = math.prod(value.shape[:-2])
    if count not in (1, math.prod(batch)):
        dims = (*batch, *matrix)
        value = builder.like("BROADCAST_TO", [value, builder.ints(dims)], value, shape=dims)
        count = math.prod(batch)
    return builder.reshape(value.tensor, (count, *matrix))


def _matrix(call: Call, value: Value) -> tuple[Value, bool]:
    """Rows and columns last, in the order that copies runs of memory where axes must move."""
    swapped = (*identity(value.rank)[:-2], value.rank - 1, value.rank - 2)
    innermost = next((axis for axis in reversed(value.perm) if value.shape[axis] != 1), None)
    if value.perm == swapped or (innermost == value.rank - 2 and not value.is_linear()):
        return call.builder.reorder(value, swapped), True
    return call.builder.linear(value), False
