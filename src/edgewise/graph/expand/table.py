"""Which function expands which ONNX operator.

Each gets an `Expansion`, appends nodes to it, and gives the values that take the place of the
node's outputs, None for one that nothing reads. It raises CannotExpand when it does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from edgewise.graph.expand import (
    activation,
    attention,
    determinant,
    hyperbolic,
    linear_attention,
    linear_quantization,
    loss,
    quantized,
    rotary_embedding,
)
from edgewise.graph.expand.expansion import Expansion

Expand = Callable[[Expansion], Sequence[ir.Value | None]]

EXPANSIONS: dict[str, Expand] = {
    # activations and functions of one element
    "Acosh": hyperbolic.expand_acosh,
    "Asinh": hyperbolic.expand_asinh,
    "Atanh": hyperbolic.expand_atanh,
    "Cosh": hyperbolic.expand_cosh,
    "IsInf": activation.expand_is_inf,
    "IsNaN": activation.expand_is_nan,
    "Shrink": activation.expand_shrink,
    "Sinh": hyperbolic.expand_sinh,
    "Swish": activation.expand_swish,
    "Tan": hyperbolic.expand_tan,
    # attention
    "Attention": attention.expand_attention,
    "LinearAttention": linear_attention.expand_linear_attention,
    "RotaryEmbedding": rotary_embedding.expand_rotary_embedding,
    # matrices
    "Det": determinant.expand_det,
    # losses
    "NegativeLogLikelihoodLoss": loss.expand_negative_log_likelihood_loss,
    "SoftmaxCrossEntropyLoss": loss.expand_softmax_cross_entropy_loss,
    # quantized numbers
    "ConvInteger": quantized.expand_conv_integer,
    "DequantizeLinear": linear_quantization.expand_dequantize_linear,
    "DynamicQuantizeLinear": quantized.expand_dynamic_quantize_linear,
    "MatMulInteger": quantized.expand_matmul_integer,
    "QLinearConv": quantized.expand_qlinear_conv,
    "QLinearMatMul": quantized.expand_qlinear_matmul,
    "QuantizeLinear": linear_quantization.expand_quantize_linear,
}
