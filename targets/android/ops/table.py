"""Which function lowers which ONNX operator, and which of them have a correct int8 kernel.

A key that stands here twice is an error that ruff (F601) and a test find.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from edgewise.targets.android.call import Call
from edgewise.targets.android.ops import (
    activation,
    arg,
    cache,
    concat_split_slice,
    control_flow,
    convolution,
    depth_space,
    elementwise,
    error_function,
    gather,
    gemm,
    int8_arithmetic,
    integers,
    normalization,
    one_hot,
    pad,
    pooling,
    reduce,
    resize,
    reverse,
    scatter,
    shape,
    softmax,
    suppression,
    topk,
    transposed_convolution,
    trigonometry,
)


@dataclass(frozen=True, slots=True)
class Lowering:
    """`lower` writes the operator; `int8` says why this node has no int8 form, or None when it has.

    Without an `int8` function the operator always runs in float32. A node that does not fit is
    written in simpler operators instead (`edgewise.graph.expand`).
    """

    lower: Callable[[Call], None]
    int8: Callable[[Call], str | None] | None = None
    fits: Callable[[ir.Node], bool] | None = None


_ANY = activation.no_obstacle

LOWERINGS: dict[str, Lowering] = {
    # convolution
    "Conv": Lowering(convolution.lower_conv, convolution.conv_int8_obstacle),
    "ConvTranspose": Lowering(
        transposed_convolution.lower_conv_transpose,
        transposed_convolution.conv_transpose_int8_obstacle,
    ),
    # products
    "Gemm": Lowering(gemm.lower_gemm, gemm.gemm_int8_obstacle),
    "MatMul": Lowering(gemm.lower_matmul, gemm.matmul_int8_obstacle),
    # pooling
    "AveragePool": Lowering(pooling.lower_average_pool, pooling.average_pool_int8_obstacle),
    "GlobalAveragePool": Lowering(pooling.lower_global_pool, _ANY),
    "GlobalMaxPool": Lowering(pooling.lower_global_pool, _ANY),
    "MaxPool": Lowering(pooling.lower_max_pool, _ANY),
    # elementwise
    "Add": Lowering(elementwise.lower_binary, elementwise.additive_obstacle),
    "And": Lowering(elementwise.lower_binary),
    "BitCast": Lowering(integers.lower_bit_cast),
    "BitShift": Lowering(integers.lower_bit_shift),
    "BitwiseAnd": Lowering(integers.lower_bitwise),
    "BitwiseNot": Lowering(integers.lower_bitwise_not),
    "BitwiseOr": Lowering(integers.lower_bitwise),
    "BitwiseXor": Lowering(integers.lower_bitwise),
    "Div": Lowering(integers.lower_div, int8_arithmetic.div_obstacle),
    "Equal": Lowering(elementwise.lower_binary),
    "Greater": Lowering(elementwise.lower_binary),
    "GreaterOrEqual": Lowering(elementwise.lower_binary),
    "Less": Lowering(elementwise.lower_binary),
    "LessOrEqual": Lowering(elementwise.lower_binary),
    "Max": Lowering(elementwise.lower_extremum, elementwise.extremum_obstacle),
    "Mean": Lowering(elementwise.fold_pairs("Mean")),
    "Min": Lowering(elementwise.lower_extremum, elementwise.extremum_obstacle),
    "Mod": Lowering(integers.lower_mod),
    "Mul": Lowering(elementwise.lower_binary, elementwise.multiplicative_obstacle),
    "Or": Lowering(elementwise.lower_binary),
    "Pow": Lowering(integers.lower_pow, int8_arithmetic.pow_obstacle),
    "Sub": Lowering(elementwise.lower_binary, elementwise.additive_obstacle),
    "Sum": Lowering(elementwise.fold_pairs("Sum")),
    "Where": Lowering(elementwise.lower_where, elementwise.where_obstacle),
    "Xor": Lowering(elementwise.lower_binary),
    # activations and functions of one element
    "Abs": Lowering(integers.lower_abs, _ANY),
    "Acos": Lowering(trigonometry.lower_inverse),
    "Asin": Lowering(trigonometry.lower_inverse),
    "Atan": Lowering(trigonometry.lower_inverse),
    "Ceil": Lowering(activation.lower_unary),
    "Celu": Lowering(activation.lower_celu),
    "Clip": Lowering(activation.lower_bounds, activation.bounds_obstacle),
    "Cos": Lowering(activation.lower_unary),
    "Elu": Lowering(activation.lower_unary, activation.elu_obstacle),
    "Erf": Lowering(error_function.lower_erf),
    "Exp": Lowering(activation.lower_unary, _ANY),
    "Floor": Lowering(activation.lower_unary),
    "Gelu": Lowering(activation.lower_unary, _ANY),
    "HardSigmoid": Lowering(activation.lower_hard_sigmoid, activation.hard_sigmoid_obstacle),
    "HardSwish": Lowering(activation.lower_unary, activation.hard_swish_obstacle),
    "LeakyRelu": Lowering(activation.lower_unary, _ANY),
    "Log": Lowering(activation.lower_unary, _ANY),
    "Mish": Lowering(activation.lower_mish),
    "Neg": Lowering(integers.lower_neg, int8_arithmetic.neg_obstacle),
    "Not": Lowering(activation.lower_unary),
    "PRelu": Lowering(activation.lower_prelu, activation.prelu_obstacle),
    "Reciprocal": Lowering(activation.lower_reciprocal),
    "Relu": Lowering(activation.lower_bounds, activation.bounds_obstacle),
    "Round": Lowering(activation.lower_unary),
    "Selu": Lowering(activation.lower_selu),
    "Sigmoid": Lowering(activation.lower_unary, _ANY),
    "Sign": Lowering(integers.lower_sign),
    "Sin": Lowering(activation.lower_unary),
    "Softplus": Lowering(activation.lower_softplus),
    "Softsign": Lowering(activation.lower_softsign),
    "Sqrt": Lowering(activation.lower_unary),
    "Tanh": Lowering(activation.lower_unary, _ANY),
    "ThresholdedRelu": Lowering(activation.lower_thresholded_relu),
    # softmax
    "LogSoftmax": Lowering(softmax.lower_softmax, _ANY),
    "Softmax": Lowering(softmax.lower_softmax, _ANY),
    # shape
    "Cast": Lowering(shape.lower_cast),
    "Dropout": Lowering(shape.lower_identity, _ANY),
    "Expand": Lowering(shape.lower_expand, _ANY),
    "Flatten": Lowering(shape.lower_reshape, _ANY),
    "Identity": Lowering(shape.lower_identity, _ANY),
    "Reshape": Lowering(shape.lower_reshape, _ANY),
    "Squeeze": Lowering(shape.lower_reshape, _ANY),
    "Tile": Lowering(shape.lower_tile, _ANY),
    "Transpose": Lowering(shape.lower_transpose, _ANY),
    "Unsqueeze": Lowering(shape.lower_reshape, _ANY),
    # control flow
    "If": Lowering(control_flow.lower_if),
    "Loop": Lowering(control_flow.lower_loop, fits=control_flow.loop_fits),
    # parts
    "Concat": Lowering(concat_split_slice.lower_concat, concat_split_slice.concat_obstacle),
    "Gather": Lowering(gather.lower_gather, _ANY),
    "GatherElements": Lowering(gather.lower_gather_elements, _ANY),
    "GatherND": Lowering(gather.lower_gather_nd, _ANY),
    "NonMaxSuppression": Lowering(suppression.lower_non_max_suppression),
    "OneHot": Lowering(one_hot.lower_one_hot),
    "Pad": Lowering(pad.lower_pad, pad.pad_obstacle),
    "ReverseSequence": Lowering(reverse.lower_reverse_sequence),
    "Scatter": Lowering(scatter.lower_scatter_elements, scatter.scatter_obstacle),
    "ScatterElements": Lowering(scatter.lower_scatter_elements, scatter.scatter_obstacle),
    "ScatterND": Lowering(scatter.lower_scatter_nd, scatter.scatter_obstacle),
    "Slice": Lowering(concat_split_slice.lower_slice, _ANY),
    "Split": Lowering(concat_split_slice.lower_split, _ANY),
    "TensorScatter": Lowering(cache.lower_tensor_scatter),
    "TopK": Lowering(topk.lower_topk, topk.topk_obstacle),
    # images
    "DepthToSpace": Lowering(depth_space.lower_depth_to_space, _ANY),
    "Resize": Lowering(resize.lower_resize, resize.resize_obstacle),
    "SpaceToDepth": Lowering(depth_space.lower_space_to_depth, _ANY),
    "Upsample": Lowering(resize.lower_resize, resize.resize_obstacle),
    # reductions
    "ArgMax": Lowering(arg.lower_arg, _ANY),
    "ArgMin": Lowering(arg.lower_arg, _ANY),
    "CumSum": Lowering(reduce.lower_cumsum),
    "ReduceL1": Lowering(reduce.lower_composed_reduce),
    "ReduceL2": Lowering(reduce.lower_composed_reduce),
    "ReduceLogSum": Lowering(reduce.lower_composed_reduce),
    "ReduceLogSumExp": Lowering(reduce.lower_composed_reduce),
    "ReduceMax": Lowering(reduce.lower_reduce, _ANY),
    "ReduceMean": Lowering(reduce.lower_reduce, _ANY),
    "ReduceMin": Lowering(reduce.lower_reduce, _ANY),
    "ReduceProd": Lowering(reduce.lower_reduce),
    "ReduceSum": Lowering(reduce.lower_reduce, _ANY),
    "ReduceSumSquare": Lowering(reduce.lower_composed_reduce),
    # normalization
    "BatchNormalization": Lowering(normalization.lower_batch_normalization),
    "InstanceNormalization": Lowering(normalization.lower_instance_normalization),
    "LRN": Lowering(normalization.lower_lrn, fits=normalization.lrn_fits),
    "LayerNormalization": Lowering(normalization.lower_layer_normalization),
    "RMSNormalization": Lowering(normalization.lower_rms_normalization),
}

#: operators whose lowering adds no operator that computes, and whose int8 form therefore only
#: needs both ends to agree; see `scheme`
INT8_OPERATORS = frozenset(name for name, entry in LOWERINGS.items() if entry.int8 is not None)

#: those of them whose kernels take int16 activations too
INT16_OPERATORS = frozenset({
    "Abs", "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "Dropout", "Expand",
    "Flatten", "Gather", "GatherND", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Identity",
    "LeakyRelu", "MatMul", "Max", "MaxPool", "Min", "Mul", "Pad", "ReduceMax", "ReduceMean",
    "ReduceMin", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Softmax", "Split", "Squeeze",
    "Sub", "Tanh", "Tile", "Transpose", "Unsqueeze", "Upsample", "Where",
})  # fmt: skip
