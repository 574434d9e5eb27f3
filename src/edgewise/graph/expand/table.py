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
    causal_convolution,
    columns,
    control_flow,
    crop_pad,
    deformable_convolution,
    determinant,
    einsum,
    fourier,
    grid_sample,
    hyperbolic,
    linear_attention,
    linear_quantization,
    loss,
    ngrams,
    normalization,
    optional,
    pooling,
    quantized,
    recurrent,
    regions,
    rotary_embedding,
    running_product,
    selection,
    window,
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
    # sums of products
    "Einsum": einsum.expand_einsum,
    # signals
    "BlackmanWindow": window.expand_window,
    "DFT": fourier.expand_dft,
    "HammingWindow": window.expand_window,
    "HannWindow": window.expand_window,
    "STFT": fourier.expand_stft,
    # matrices
    "Det": determinant.expand_det,
    # optionals
    "OptionalGetElement": optional.expand_get_element,
    "OptionalHasElement": optional.expand_has_element,
    # selection
    "CenterCropPad": crop_pad.expand_center_crop_pad,
    "Compress": selection.expand_compress,
    "CumProd": running_product.expand_cum_prod,
    "EyeLike": selection.expand_eye_like,
    "Hardmax": selection.expand_hardmax,
    "TfIdfVectorizer": ngrams.expand_tf_idf_vectorizer,
    "Trilu": selection.expand_trilu,
    # normalization
    "GroupNormalization": normalization.expand_group_normalization,
    "LRN": normalization.expand_lrn,
    "LpNormalization": normalization.expand_lp_normalization,
    "MeanVarianceNormalization": normalization.expand_mean_variance_normalization,
    # losses
    "NegativeLogLikelihoodLoss": loss.expand_negative_log_likelihood_loss,
    "SoftmaxCrossEntropyLoss": loss.expand_softmax_cross_entropy_loss,
    # control flow
    "Loop": control_flow.expand_loop,
    "Scan": control_flow.expand_scan,
    # sequences
    "GRU": recurrent.expand_gru,
    "LSTM": recurrent.expand_lstm,
    "RNN": recurrent.expand_rnn,
    # quantized numbers
    "ConvInteger": quantized.expand_conv_integer,
    "DequantizeLinear": linear_quantization.expand_dequantize_linear,
    "DynamicQuantizeLinear": quantized.expand_dynamic_quantize_linear,
    "MatMulInteger": quantized.expand_matmul_integer,
    "QLinearConv": quantized.expand_qlinear_conv,
    "QLinearMatMul": quantized.expand_qlinear_matmul,
    "QuantizeLinear": linear_quantization.expand_quantize_linear,
    # windows and images
    "AffineGrid": grid_sample.expand_affine_grid,
    "CausalConvWithState": causal_convolution.expand_causal_conv_with_state,
    "Col2Im": columns.expand_col2im,
    "DeformConv": deformable_convolution.expand_deform_conv,
    "GlobalLpPool": pooling.expand_global_lp_pool,
    "GridSample": grid_sample.expand_grid_sample,
    "LpPool": pooling.expand_lp_pool,
    "MaxRoiPool": regions.expand_max_roi_pool,
    "MaxUnpool": pooling.expand_max_unpool,
    "RoiAlign": regions.expand_roi_align,
}
