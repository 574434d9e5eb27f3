"""QuantizeLinear and DequantizeLinear.

1. Of a constant: integers of 4 and 8 bits stay (`QuantizedConstant`), int32 biases become floats.
2. Of a computed value: MIL `quantize` and `dequantize`, which exist for int8 and uint8 (iOS 17).
3. Of a computed value, in blocks, with computed scales or of int32: arithmetic on floats
   (`edgewise.graph.expand.linear_quantization`).

Scales and zero points enter the program exactly as the model has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.calibration.scheme import QMAX, QMIN
from edgewise.graph import TensorQuantization, attribute, constant, quantization_of
from edgewise.graph.expand.linear_quantization import needs_arithmetic
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var, types
from edgewise.targets.apple.call import Array, Call, Operand
from edgewise.targets.apple.weights import STORED_TYPES, QuantizedConstant

_LIMITS: dict[str, tuple[int, int]] = {name: (QMIN[name], QMAX[name]) for name in QMIN}
_BYTES = (np.dtype(np.int8), np.dtype(np.uint8))


def is_mil_quantization(node: ir.Node) -> bool:
    """Whether the node states the scales of a tensor as MIL can; others become arithmetic. 16 bits
    stay, to be refused: as arithmetic they would be slower than the floats that they replace."""
    if not needs_arithmetic(node):
        return True
    given = [value for value in node.inputs[1:] if value is not None]
    stored = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
    if stored is None or stored.dtype is None:
        return True
    if stored.dtype in (ir.DataType.INT16, ir.DataType.UINT16):
        return True
    by_tensor_or_axis = not attribute(node, "block_size", 0)
    known = all(constant(value) is not None for value in given)
    return known and by_tensor_or_axis and stored.dtype in (ir.DataType.INT8, ir.DataType.UINT8)


def quantize_linear(call: Call) -> Operand:
    quantization = quantization_of(call.node)
    dtype = quantization.zero_point.dtype
    _refuse_blocks(call, quantization)
    if call.is_constant(0) and dtype in STORED_TYPES:
        return quantize(call.array(0, "data"), quantization)
    if dtype not in _BYTES:
        call.refuse(
            f"Core ML quantizes activations to int8 or uint8, not to {dtype}",
            "Quantize with w8a8.",
        )
    return mb.quantize(
        input=call.var(0),
        output_dtype=dtype.name,
        name=call.name,
        **_parameters(quantization),
    )


def dequantize_linear(call: Call) -> Operand:
    quantization = quantization_of(call.node)
    operand = call.operand(0)
    if isinstance(operand, Var):
        _refuse_blocks(call, quantization)
        dtype = quantization.zero_point.dtype.name
        if types.builtin_to_string(operand.dtype) != dtype:  # the result of integer arithmetic
            operand = mb.cast(x=operand, dtype=dtype)
        return mb.dequantize(input=operand, name=call.name, **_parameters(quantization))
    if isinstance(operand, QuantizedConstant):
        call.refuse("its input is dequantized already", "Export the model again.")
    if operand.dtype == np.int32:
        return quantization.dequantize(operand)
    if operand.dtype not in STORED_TYPES:
        call.refuse(
            f"weights of type {operand.dtype} are not offered",
            "Quantize the weights to int8 or int4.",
        )
    if not operand.ndim:
        return quantization.dequantize(operand)
    weight = QuantizedConstant.of(operand, quantization, call.system)
    if not weight.fits_system:
        call.refuse(
            f"{call.system} has no weights of 4 bits and none with scales per block",
            "Quantize to int8, per tensor or per channel.",
        )
    return weight


def quantize(array: Array, quantization: TensorQuantization) -> Array:
    """ONNX QuantizeLinear of a constant: divide in float32, round half to even, saturate."""
    scale, zero = quantization.scale, quantization.zero_point
    if quantization.axis is not None:
        shape = [1] * array.ndim
        shape[quantization.axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    low, high = _LIMITS[zero.dtype.name]
    shifted = np.rint(array.astype(np.float32) / scale) + zero.astype(np.float32)
    whole = np.clip(shifted, low, high).astype(np.int8 if low else np.uint8)
    return np.asarray(whole.astype(zero.dtype))  # 0-d gives a scalar


def _refuse_blocks(call: Call, quantization: TensorQuantization) -> None:
    if quantization.block_size:
        call.refuse(
            "Core ML has no scales per block for values that are computed",
            "Quantize activations per tensor.",
        )


def _parameters(quantization: TensorQuantization) -> dict[str, Any]:
    """A scalar scale forbids `axis`; an absent zero point stands for 0 (MIL specification)."""
    scale, zero = quantization.scale, quantization.zero_point
    parameters: dict[str, Any] = {"scale": scale if scale.ndim else scale[()]}
    if quantization.axis is not None:
        parameters["axis"] = np.int32(quantization.axis)
    if zero.any():
        parameters["zero_point"] = zero if zero.ndim else zero[()]
    return parameters
