"""Products of integers whose scales are applied behind them.

    DynamicQuantizeLinear -> MatMulInteger / ConvInteger -> Cast -> Mul(s_x s_w)

1. MatMulInteger(q, w, z, y) gives sum (q - z)(w - y): the float product of what q stands for, over
   its scale, with the integers w less y. Where the scale of q is computed, it stands for itself
   with scale 1 (see `pairs`), and the Mul behind applies s_w alone: it folds into the weights.
2. The Cast behind it is a copy.
3. MatMulIntegerToFloat and DynamicQuantizeMatMul of `com.microsoft` do all of it in one node.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgewise.exporters.opened import Array
from edgewise.exporters.quantized.lifting import Held, Lifted, unsupported
from edgewise.graph import TensorQuantization, constant

_ONE = np.float32(1.0)


def lift_integer_product(lifted: Lifted, node: ir.Node) -> None:
    """Case 1."""
    left, right = (_centred(lifted, node, index) for index in (0, 1))
    name = "Conv" if node.op_type == "ConvInteger" else "MatMul"
    output = node.outputs[0]
    real = lifted.stand_in(node, name, [left, right])[0]
    lifted.held[output] = Held(real, None)


def lift_cast(lifted: Lifted, node: ir.Node) -> None:
    """Case 2. Raises ModelError: it casts to something else than floats."""
    source, output = node.inputs[0], node.outputs[0]
    if source is None or output.dtype is not ir.DataType.FLOAT:
        raise unsupported(node, "it reads the sums of a product of integers")
    lifted.substitute(output, lifted.held[source].real)


def lift_product_to_float(lifted: Lifted, node: ir.Node) -> None:
    """Case 3."""
    whole = node.op_type == "MatMulIntegerToFloat"
    weight = _operand(node, 1)
    scale_at = 3 if whole else 2
    zero_at = 5 if whole else 3
    bias_at = 6 if whole else 4
    scale, array = constant(_operand(node, scale_at)), constant(weight)
    if scale is None or array is None:
        raise unsupported(node, "its weights are computed")
    zero = constant(node.inputs[zero_at]) if zero_at < len(node.inputs) else None
    if zero is None:
        zero = np.zeros(scale.shape, array.dtype)
    axis = None if scale.size == 1 else array.ndim - 1
    shape: tuple[int, ...] = () if axis is None else (-1,)
    zero = np.broadcast_to(zero.reshape(-1), (scale.size,)).reshape(shape)
    stored = TensorQuantization(scale.astype(np.float32).reshape(shape), zero, axis)
    source = _operand(node, 0)
    if whole:
        left = lifted.held[source].real if source in lifted.held else None
        computed = source in lifted.held and lifted.held[source].parameters is None
        if not computed:
            left = lifted.real(source, parameters_at_pair(node, 2, 4))
    else:
        left, lifted.dynamic = source, True
    product_output = node.outputs[0]
    right = lifted.constant(weight, stored)
    bias = node.inputs[bias_at] if bias_at < len(node.inputs) else None
    real = lifted.stand_in(node, "MatMul", [left, right], {})[0]
    if bias is not None:
        real = lifted.add("Add", [real, bias], name=f"{real.name}_bias")[0]
    lifted.substitute(product_output, real)


def parameters_at_pair(node: ir.Node, scale_at: int, zero_at: int) -> TensorQuantization:
    """Where the zero point does not follow its scale."""
    scale = constant(_operand(node, scale_at))
    zero = constant(node.inputs[zero_at]) if zero_at < len(node.inputs) else None
    if scale is None or scale.size != 1:
        raise unsupported(node, "its scales are computed")
    number = np.zeros((), np.uint8) if zero is None else zero.reshape(-1)[0]
    return TensorQuantization(scale.astype(np.float32).reshape(()), np.asarray(number))


def _centred(lifted: Lifted, node: ir.Node, index: int) -> ir.Value:
    """An operand as floats: its integers less the zero point, or what they stand for over the
    scale."""
    value = _operand(node, index)
    array = constant(value)
    zero_at = 2 + index
    zero = constant(node.inputs[zero_at]) if zero_at < len(node.inputs) else None
    if array is not None:
        numbers = array.astype(np.float32)
        if zero is not None:
            numbers -= _spread(zero.astype(np.float32), array.ndim, node, index)
        real = lifted.new_constant((value.name or "").removesuffix("_quantized"), numbers)
        lifted.rounded.add(real)
        return real
    held = lifted.held.get(value)
    if held is None:
        raise unsupported(node, f"input {index} was not quantized by an operator")
    if held.parameters is None:
        return held.real
    if held.parameters.scale.ndim:
        raise unsupported(node, "its integers have a scale per channel")
    step = np.asarray(_ONE / held.parameters.scale, np.float32)
    number = lifted.new_constant(f"{held.real.name}_steps", step)
    return lifted.add("Mul", [held.real, number], name=f"{held.real.name}_integers", before=node)[0]


def _spread(zero: Array, rank: int, node: ir.Node, index: int) -> Array:
    """One zero point for all, or one per output channel: axis 0 of Conv, the last one of MatMul
    (rows for its first operand)."""
    if zero.size == 1:
        return zero.reshape(())
    shape = [1] * rank
    shape[0 if node.op_type == "ConvInteger" else rank - 1 if index else rank - 2] = -1
    return zero.reshape(shape)


def _operand(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        raise unsupported(node, f"input {index} is absent")
    return value
