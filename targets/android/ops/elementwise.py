"""Operators of two or more elements at the same place, with broadcasting.

Operands are brought to one rank and one memory order: NHWC where one of full rank has it, so that
an image meets NHWC constants and nothing is transposed; else ONNX order where one has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from edgewise.targets.android.builder import FLOAT32
from edgewise.targets.android.call import Call, integer_constant
from edgewise.targets.android.layout import Perm, Value, identity
from edgewise.targets.android.model import INT8, Quantization
from edgewise.targets.android.ops.dtypes import compute

BINARY_KINDS = {
    "Add": "ADD",
    "And": "LOGICAL_AND",
    "Equal": "EQUAL",
    "Greater": "GREATER",
    "GreaterOrEqual": "GREATER_EQUAL",
    "Less": "LESS",
    "LessOrEqual": "LESS_EQUAL",
    "Max": "MAXIMUM",
    "Min": "MINIMUM",
    "Mul": "MUL",
    "Or": "LOGICAL_OR",
    "Sub": "SUB",
    "Xor": "NOT_EQUAL",
}
_WITH_ACTIVATION = ("ADD", "SUB", "MUL")

#: ratio of input to output scale (for MUL: product of input scales) that XNNPACK takes
ADD_LIMITS = (2.0**-10, 2.0**8)
MUL_LIMITS = (2.0**-16, 2.0**8)


#: the kernels of ADD and SUB multiply scales by 2**20 in float32, and abort at infinity
LARGEST_SCALE = 2.0**100


def inside(ratio: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= ratio < limits[1]


def operands(call: Call, indices: Sequence[int]) -> tuple[list[Value], Perm]:
    """The inputs in one common memory order and of one rank, ready to broadcast."""
    builder = call.builder
    computed = {index: call.numbers(index) for index in indices if call.constant(index) is None}
    rank = max(len(call.shape(index)) for index in indices)
    full = [value.perm for value in computed.values() if value.rank == rank]
    perm = _common_order(full, rank)
    values = []
    for index in indices:
        if index in computed:
            values.append(builder.reorder(builder.with_rank(computed[index], rank), perm))
        elif call.known(index, "operand").ndim == 0:
            values.append(call.constant_operand(index, ()))
        else:
            values.append(call.constant_operand(index, perm, rank))
    return values, perm


def _common_order(orders: Sequence[Perm], rank: int) -> Perm:
    """Images stay NHWC, because the next convolution wants them so. Any other order is one that
    nobody asked for: ONNX order is better where an operand has it."""
    image = (0, *range(2, rank), 1) if rank > 2 else identity(rank)
    if image in orders:
        return image
    return identity(rank) if identity(rank) in orders or not orders else orders[0]


def lower_binary(call: Call) -> None:
    kind = BINARY_KINDS[call.op_type]
    values, perm = operands(call, (0, 1))
    if not call.int8 and values[0].dtype != FLOAT32:
        call.finish(compute(call, kind, values, perm))
        return
    options: dict[str, Any] = {}
    if kind in _WITH_ACTIVATION:
        options["fusedActivationFunction"] = call.fused_activation()
    call.finish(call.write(kind, values, perm, **options))


def additive_obstacle(call: Call) -> str | None:
    """ADD and SUB: every input scale over the output scale must be inside the limits."""
    scales = _scales(call, (0, 1))
    if isinstance(scales, str):
        return scales
    wanted = call.wanted()
    if wanted is None:
        return "its output is not quantized"
    out = float(wanted.scale[0])
    if max(out, *scales) >= LARGEST_SCALE:
        return "a scale is beyond what the kernel computes with, as that of a mask without end"
    if not all(scale / out < ADD_LIMITS[1] for scale in scales):
        return "the scale of an input over the scale of the output is 256 or more"
    return None


def multiplicative_obstacle(call: Call) -> str | None:
    """MUL: the product of input scales over the output scale must be below 256."""
    scales = _scales(call, (0, 1))
    if isinstance(scales, str):
        return scales
    wanted = call.wanted()
    if wanted is None:
        return "its output is not quantized"
    if scales[0] * scales[1] / float(wanted.scale[0]) >= MUL_LIMITS[1]:
        return "the product of input scales over the scale of the output is 256 or more"
    return None


def _scales(call: Call, indices: Sequence[int]) -> list[float] | str:
    scales = []
    for index in indices:
        if call.constant(index) is not None:
            found = integer_constant(call.context.plan, call.source(index), call.stored or INT8)
            if isinstance(found, str):
                return found
            scales.append(float(found[1].scale[0]))
            continue
        quantization = call.operand(index).quantization
        if quantization is None:
            return f"its input '{call.source(index).name}' is not quantized"
        scales.append(float(quantization.scale[0]))
    return scales


def extremum_obstacle(call: Call) -> str | None:
    scales = _scales(call, range(len(call.node.inputs)))
    return scales if isinstance(scales, str) else None


def lower_extremum(call: Call) -> None:
    """Max and Min of any number of inputs; in int8 all are brought to the output's parameters."""
    count = len(call.node.inputs)
    wanted = call.wanted()
    if count == 1:
        call.finish(call.operand(0))
        return
    values, perm = operands(call, range(count))
    if wanted is not None:
        values = [requantized(call, value, wanted) for value in values]
    kind = BINARY_KINDS[call.op_type]
    dims = call.output_shape()
    total = values[0]
    for value in values[1:]:
        shape = dims if value is values[-1] else np.broadcast_shapes(total.shape, value.shape)
        total = call.write(kind, [total, value], perm, shape=_full(shape, perm))
    call.finish(total)


def _full(shape: Sequence[int], perm: Perm) -> tuple[int, ...]:
    return (1,) * (len(perm) - len(shape)) + tuple(shape)


def requantized(call: Call, value: Value, wanted: Quantization) -> Value:
    """The value in those parameters; a constant is converted now."""
    tensor = value.tensor
    if tensor.data is None or tensor.quantization is None:
        return call.builder.quantize(value, wanted)
    if wanted.same_as(tensor.quantization):
        return value
    centred = tensor.data.astype(np.float32) - tensor.quantization.zero_point[0]
    real = centred * tensor.quantization.scale[0]
    return Value(call.builder.constant(wanted.quantize(real), tensor.name, wanted), value.perm)


def fold_pairs(kind: str) -> Callable[[Call], None]:
    """Sum and Mean: ADD two at a time, then a MUL for the mean."""
    return partial(_lower_sum, mean=kind == "Mean")


def _lower_sum(call: Call, *, mean: bool) -> None:
    values, perm = operands(call, range(len(call.node.inputs)))
    total = values[0]
    for value in values[1:]:
        shape = _full(np.broadcast_shapes(total.shape, value.shape), perm)
        total = compute(call, "ADD", [total, value], perm, shape)
    if mean:
        share = call.builder.float_scalar(1.0 / len(values))
        total = call.builder.like("MUL", [total, share], total, fusedActivationFunction=0)
    call.finish(total)


def where_obstacle(call: Call) -> str | None:
    scales = _scales(call, (1, 2))
    return scales if isinstance(scales, str) else None


def lower_where(call: Call) -> None:
    values, perm = operands(call, (0, 1, 2))
    wanted = call.wanted()
    if wanted is not None:
        values[1:] = [requantized(call, value, wanted) for value in values[1:]]
    call.finish(call.write("SELECT_V2", values, perm))
