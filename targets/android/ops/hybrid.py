"""FULLY_CONNECTED with integer weights and a float input, which the kernel quantizes as it runs.

Each row x of the input becomes int8 with a step of its own, (max(x, 0) - min(x, 0)) / 255: XNNPACK
does so always, the built-in kernels with `asymmetricQuantizeInputs`. So a result differs from that
of the weight-only ONNX model, which multiplies x itself, by at most half a step times sum|W|.

The kernels take weights without zero point, in
  1. int8, or int4, with one scale for the tensor or for each output channel;
  2. int4 with a scale for every output channel and 32 (or a multiple) inputs. The file holds these
     scales as float16, and XNNPACK reads them as bfloat16 (LiteRT 2.3; 0.4 % off at worst). So they
     are rounded to bfloat16 here, that all kernels compute the same; a finding tells where that
     changes the model's own.
Other forms stay float32 with the values that the integers stand for.
"""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from edgewise.graph import TensorQuantization
from edgewise.targets.android.call import Call
from edgewise.targets.android.model import INT4, INT8, Array, Blocks, Quantization, Tensor

#: the lowest versions for weights of one scale, one per channel, and one per block
PER_TENSOR_VERSION, PER_CHANNEL_VERSION, PER_BLOCK_VERSION = 9, 12, 13
BLOCK_UNIT = 32

#: how an ONNX weight type is stored, and what its integers lose on the way
_STORED = {"int8": (INT8, 0), "uint8": (INT8, 128), "int4": (INT4, 0), "uint4": (INT4, 8)}


@dataclass(frozen=True, slots=True, eq=False)
class HybridWeights:
    """`weights` of shape (outputs, inputs); `block_size` 0 where `scale` is of the whole tensor or
    per output, else `scale` has the shape (outputs, inputs / block_size). `rounded` is by how much
    a scale differs from the model's, at most."""

    weights: Array
    scale: Array
    block_size: int
    rounded: float = 0.0

    @property
    def version(self) -> int:
        if self.block_size:
            return PER_BLOCK_VERSION
        return PER_TENSOR_VERSION if self.scale.ndim == 0 else PER_CHANNEL_VERSION


def hybrid_weights(call: Call, transposed: bool, factor: float) -> HybridWeights | str | None:
    """Input 1 for a kernel with a float input; why there is no such kernel; None for float weights.

    `transposed` tells that the ONNX weights have the shape (outputs, inputs) already; `factor`
    multiplies the weights (the alpha of Gemm).
    """
    found = call.quantized_constant(1)
    if call.int8 or found is None or not call.context.plan.weights_only:
        return None
    integers, quantization = found
    if quantization.zero_point.dtype.name not in _STORED:
        return f"its weights are stored as {quantization.zero_point.dtype}"
    dtype, middle = _STORED[quantization.zero_point.dtype.name]
    if (quantization.zero_point.astype(np.int32) != middle).any():
        return "its weights have a zero point"
    centred = integers.astype(np.int32) - middle
    if dtype == INT8 and centred.size and centred.min() < -127:
        return "its weights reach -128, which the kernels do not take"
    if factor <= 0:
        return "its alpha is not positive"
    rows = centred if transposed else centred.T
    scale = _scale(quantization, rows, dtype == INT4, transposed, factor)
    if isinstance(scale, str):
        return scale
    exact = quantization.scale * np.float32(factor)
    moved = 0.0
    if quantization.block_size:
        moved = float(np.abs((scale if transposed else scale.T) / exact - 1).max(initial=0))
    return HybridWeights(rows.astype(dtype), scale, quantization.block_size, moved)


def _scale(
    quantization: TensorQuantization, rows: Array, is_int4: bool, transposed: bool, factor: float
) -> Array | str:
    """Scales of shape (), (outputs,) or (outputs, blocks)."""
    scale = (quantization.scale * np.float32(factor)).astype(np.float32)
    if quantization.per_tensor:
        return scale
    inputs = rows.shape[1]
    block, axis = quantization.block_size, quantization.axis
    if not block:
        return (
            scale if axis == (0 if transposed else 1) else "its scales are not per output channel"
        )
    if axis != (1 if transposed else 0):
        return "its blocks do not run along the inputs"
    if not is_int4:
        return "TFLite has int4 weights in blocks, no others"
    if block % BLOCK_UNIT or inputs % block:
        return f"its blocks of {block} do not divide {inputs} inputs, or are no multiple of 32"
    rounded = scale.astype(ml_dtypes.bfloat16).astype(np.float32)
    with np.errstate(over="ignore"):  # infinite where float16 does not reach
        held = rounded.astype(np.float16).astype(np.float32)
    if (rounded != held).any():
        return "float16 does not hold its block scales"
    return np.ascontiguousarray(rounded if transposed else rounded.T)


def hybrid_tensors(call: Call, found: HybridWeights, channels: int) -> tuple[Tensor, Tensor]:
    """Constant tensors for the weights and the float bias."""
    builder = call.builder
    name = call.source(1).name or ""
    if found.block_size:
        scales = builder.constant(found.scale.astype(np.float16), f"{name}/scales")
        weights = builder.constant(found.weights, name)
        weights.blocks = Blocks(scales, found.block_size)
    else:
        quantization = Quantization.symmetric(found.scale, 0, found.weights.dtype)
        weights = builder.constant(found.weights, name, quantization)
    bias = np.zeros(channels, np.float32)
    if call.has(2):
        bias = bias + call.known(2, "bias").reshape(-1).astype(np.float32)
    bias_name = call.source(2).name if call.has(2) else None
    return weights, builder.constant(bias, bias_name or f"{call.node.outputs[0].name}/bias")
