"""Weights and biases of convolutions and matrix products, float or int8.

The integer kernels want: weights int8 in -127..127 with zero point 0, per tensor or per output
channel; a bias of scale `s_input * s_weight` (float32) and zero point 0, always present, int32 or,
beside int16 activations, int64; `s_input * s_weight / s_output` below 256, or XNNPACK refuses the
whole graph and the int16 kernels shift too far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgewise.targets.android.call import Call
from edgewise.targets.android.model import (
    INT8,
    INT16,
    INT32,
    INT64,
    Array,
    Quantization,
    Tensor,
)

REQUANTIZATION_LIMIT = 256.0
#: dtype of activations -> dtype of the bias, and its largest magnitude; the int16 kernels scale
#: sums of at most 2**47
BIAS_DTYPES = {INT8: INT32, INT16: INT64}
_BIAS_LIMITS = {INT32: 2**31 - 1, INT64: 2**46}


@dataclass(frozen=True, slots=True, eq=False)
class Int8Parameters:
    """`weights` in ONNX order; `scale` of shape (1,) or (channels,); `bias` of shape (channels,)"""

    weights: Array
    scale: Array
    bias: Array
    bias_scale: Array


def int8_obstacle(call: Call, channel_axis: int, channels: int, factor: float = 1.0) -> str | None:
    """Why inputs 1 and 2 cannot be the weights and bias of an int8 kernel; None when they can."""
    found = int8_parameters(call, channel_axis, channels, factor)
    return found if isinstance(found, str) else None


def int8_parameters(
    call: Call, channel_axis: int, channels: int, factor: float = 1.0
) -> Int8Parameters | str:
    """Inputs 1 and 2 for an int8 kernel, or why there is none.

    `factor` multiplies the weights' scale (the alpha of Gemm).
    """
    weights = _int8_weights(call, channel_axis)
    if isinstance(weights, str):
        return weights
    integers, scale = weights
    scale = (scale * np.float32(factor)).astype(np.float32)
    if 1 < scale.size < channels:  # per channel of one group: each group has the same scales
        scale = np.tile(scale, channels // scale.size)
    source, wanted = call.operand(0).quantization, call.wanted()
    if source is None or wanted is None:
        return "its input or output is not quantized"
    if factor <= 0:
        return "its weights have a scale that is not positive"
    bias_scale = (source.scale * scale).astype(np.float32)
    if float(bias_scale.max() / wanted.scale[0]) >= REQUANTIZATION_LIMIT:
        return "the scale of input times weights over output is 256 or more"
    bias = _int8_bias(call, channels, bias_scale)
    if isinstance(bias, str):
        return bias
    return Int8Parameters(integers, scale, bias, bias_scale)


def _int8_weights(call: Call, channel_axis: int) -> tuple[Array, Array] | str:
    found = call.quantized_constant(1)
    if found is None:
        return "its weights are not quantized constants"
    integers, quantization = found
    zero = quantization.zero_point.astype(np.int64)
    if integers.dtype == np.uint8:
        integers, zero = (integers.astype(np.int16) - 128).astype(np.int8), zero - 128
    if integers.dtype != np.int8:
        return f"its weights are stored as {integers.dtype}"
    if zero.any():
        return "its weights have a zero point other than 0"
    if integers.size and integers.min() < -127:
        return "its weights reach -128, which the ARM kernels do not take"
    if not quantization.per_tensor and quantization.axis != channel_axis:
        return f"its weights are quantized along axis {quantization.axis}, not {channel_axis}"
    if quantization.block_size:
        return "its weights are quantized in blocks"
    return integers, np.atleast_1d(quantization.scale)


def _int8_bias(call: Call, channels: int, scale: Array) -> Array | str:
    dtype = BIAS_DTYPES[call.stored or INT8]
    if not call.has(2):
        return np.zeros(channels, dtype)
    stored = call.quantized_constant(2)
    if stored is not None and stored[0].dtype == np.int32 and stored[0].size == channels:
        integers, quantization = stored
        same = np.array_equal(np.broadcast_to(quantization.scale, scale.shape), scale)
        if same and not quantization.zero_point.any():
            return integers.reshape(-1).astype(dtype)
    real = call.constant(2)
    if real is None or real.size not in (1, channels):
        return "its bias is not a constant per output channel"
    spread = np.broadcast_to(real.reshape(-1).astype(np.float64), (channels,))
    steps = np.rint(spread / scale.astype(np.float64))
    if np.abs(steps).max(initial=0) > _BIAS_LIMITS[dtype]:
        return f"its bias does not fit {dtype} at the scale of input times weights"
    return steps.astype(dtype)


def weight_tensors(
    call: Call,
    arrange: Callable[[Array], Array],
    channel_axis: int,
    tflite_axis: int,
    channels: int,
    factor: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Constant tensors for weights and bias.

    Args:
        arrange: brings weights from ONNX order to the kernel's.
        channel_axis: output channels in ONNX order; `tflite_axis` is the same after `arrange`.
        factor: multiplies the weights (the alpha of Gemm).
    """
    weights_name, bias_name = call.source(1).name or "", _bias_name(call)
    builder = call.builder
    if call.int8:
        found = int8_parameters(call, channel_axis, channels, factor)
        if isinstance(found, str):
            raise call.refuse(found, "Quantize the model for the android scheme.")
        weights = builder.constant(
            arrange(found.weights), weights_name, Quantization.symmetric(found.scale, tflite_axis)
        )
        bias_quantization = Quantization.symmetric(found.bias_scale, 0, found.bias.dtype)
        bias = builder.constant(found.bias, bias_name, bias_quantization)
        return weights, bias
    real = call.known(1, "weights")
    scaled = real if factor == 1.0 else real * np.float32(factor)
    bias_array = np.zeros(channels, np.float32)
    if call.has(2):
        bias_array = bias_array + call.known(2, "bias").reshape(-1)
    return (
        builder.constant(arrange(scaled.astype(np.float32)), weights_name),
        builder.constant(bias_array.astype(np.float32), bias_name),
    )


def _bias_name(call: Call) -> str:
    named = call.source(2).name if call.has(2) else None
    return named or f"{call.node.outputs[0].name}/bias"
