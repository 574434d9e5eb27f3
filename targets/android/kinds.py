"""What the writer must know of each TFLite operator: its options table and its versions.

Versions gate loading: a runtime refuses an operator whose version it does not register, so each
operator is written with the lowest version that knows the dtypes at hand. The numbers follow the
version comments of the TFLite schema and were checked against the LiteRT runtime, which names the
missing version when one is wrong. Versions raised by a feature (grouped convolution, fused
activation of a transposed convolution, half-pixel resizing, per-channel fully connected) are given
where the feature is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Kind:
    """`options` is the schema's table name without the final T, or None where there is none."""

    options: str | None
    version: int = 1
    int8_version: int = 2


KINDS: dict[str, Kind] = {
    "ABS": Kind("AbsOptions"),
    "ADD": Kind("AddOptions"),
    "ARG_MAX": Kind("ArgMaxOptions"),
    "ARG_MIN": Kind("ArgMinOptions"),
    "ATAN2": Kind("ATan2Options"),
    "AVERAGE_POOL_2D": Kind("Pool2DOptions"),
    "BATCH_MATMUL": Kind("BatchMatMulOptions"),
    "BITCAST": Kind("BitcastOptions"),
    "BITWISE_XOR": Kind("BitwiseXorOptions"),
    "BROADCAST_TO": Kind("BroadcastToOptions", version=2),
    "CAST": Kind("CastOptions"),
    "CEIL": Kind(None),
    "CONCATENATION": Kind("ConcatenationOptions"),
    "CONV_2D": Kind("Conv2DOptions", int8_version=3),
    "COS": Kind("CosOptions"),
    "CUMSUM": Kind("CumsumOptions"),
    "DEPTHWISE_CONV_2D": Kind("DepthwiseConv2DOptions", version=2, int8_version=3),
    "DEPTH_TO_SPACE": Kind("DepthToSpaceOptions"),
    "DEQUANTIZE": Kind("DequantizeOptions"),
    "DIV": Kind("DivOptions"),
    "DYNAMIC_UPDATE_SLICE": Kind("DynamicUpdateSliceOptions"),
    "ELU": Kind(None, int8_version=1),
    "EQUAL": Kind("EqualOptions"),
    "EXP": Kind("ExpOptions"),
    "FILL": Kind("FillOptions"),
    "FLOOR": Kind(None),
    "FLOOR_MOD": Kind("FloorModOptions"),
    "FULLY_CONNECTED": Kind("FullyConnectedOptions", int8_version=4),
    "GATHER": Kind("GatherOptions"),
    "GATHER_ND": Kind("GatherNdOptions"),
    "GELU": Kind("GeluOptions"),
    "GREATER": Kind("GreaterOptions"),
    "GREATER_EQUAL": Kind("GreaterEqualOptions"),
    "HARD_SWISH": Kind("HardSwishOptions", int8_version=1),
    "IF": Kind("IfOptions", int8_version=1),
    "LEAKY_RELU": Kind("LeakyReluOptions"),
    "LESS": Kind("LessOptions"),
    "LESS_EQUAL": Kind("LessEqualOptions"),
    "LOCAL_RESPONSE_NORMALIZATION": Kind("LocalResponseNormalizationOptions"),
    "LOG": Kind(None),
    "LOGICAL_AND": Kind("LogicalAndOptions"),
    "LOGICAL_NOT": Kind("LogicalNotOptions"),
    "LOGICAL_OR": Kind("LogicalOrOptions"),
    "LOGISTIC": Kind(None),
    "LOG_SOFTMAX": Kind("LogSoftmaxOptions"),
    "MAXIMUM": Kind("MaximumMinimumOptions"),
    "MAX_POOL_2D": Kind("Pool2DOptions"),
    "MEAN": Kind("ReducerOptions"),
    "MINIMUM": Kind("MaximumMinimumOptions"),
    "MIRROR_PAD": Kind("MirrorPadOptions"),
    "MUL": Kind("MulOptions"),
    "NEG": Kind("NegOptions"),
    "NON_MAX_SUPPRESSION_V4": Kind("NonMaxSuppressionV4Options"),
    "NOT_EQUAL": Kind("NotEqualOptions"),
    "ONE_HOT": Kind("OneHotOptions"),
    "PAD": Kind("PadOptions"),
    "PADV2": Kind("PadV2Options"),
    "POW": Kind("PowOptions"),
    "PRELU": Kind(None, int8_version=1),
    "QUANTIZE": Kind("QuantizeOptions", int8_version=1),
    "REDUCE_ALL": Kind("ReducerOptions"),
    "REDUCE_ANY": Kind("ReducerOptions"),
    "REDUCE_MAX": Kind("ReducerOptions"),
    "REDUCE_MIN": Kind("ReducerOptions"),
    "REDUCE_PROD": Kind("ReducerOptions"),
    "RELU": Kind(None),
    "RELU6": Kind(None),
    "RELU_0_TO_1": Kind(None),
    "RELU_N1_TO_1": Kind(None),
    "RESHAPE": Kind("ReshapeOptions", int8_version=1),
    "RESIZE_BILINEAR": Kind("ResizeBilinearOptions"),
    "RESIZE_NEAREST_NEIGHBOR": Kind("ResizeNearestNeighborOptions"),
    "REVERSE_SEQUENCE": Kind("ReverseSequenceOptions"),
    "REVERSE_V2": Kind("ReverseV2Options"),
    "RIGHT_SHIFT": Kind("RightShiftOptions"),
    "ROUND": Kind(None),
    "RSQRT": Kind(None),
    "SCATTER_ND": Kind("ScatterNdOptions"),
    "SELECT_V2": Kind("SelectV2Options", int8_version=1),
    "SHAPE": Kind("ShapeOptions", int8_version=1),
    "SIGN": Kind("SignOptions"),
    "SIN": Kind(None),
    "SLICE": Kind("SliceOptions"),
    "SOFTMAX": Kind("SoftmaxOptions"),
    "SPACE_TO_DEPTH": Kind("SpaceToDepthOptions"),
    "SQRT": Kind(None),
    "SQUARED_DIFFERENCE": Kind("SquaredDifferenceOptions"),
    "STABLEHLO_AND": Kind(None),
    "STRIDED_SLICE": Kind("StridedSliceOptions"),
    "SUB": Kind("SubOptions"),
    "SUM": Kind("ReducerOptions"),
    "TANH": Kind(None),
    "TILE": Kind("TileOptions"),
    "TOPK_V2": Kind("TopKV2Options"),
    "TRANSPOSE": Kind("TransposeOptions"),
    "TRANSPOSE_CONV": Kind("TransposeConvOptions"),
    "UNSORTED_SEGMENT_MAX": Kind("UnsortedSegmentMaxOptions"),
    "UNSORTED_SEGMENT_MIN": Kind("UnsortedSegmentMinOptions"),
    "UNSORTED_SEGMENT_PROD": Kind("UnsortedSegmentProdOptions"),
    "WHERE": Kind("WhereOptions"),
    "WHILE": Kind("WhileOptions", int8_version=1),
}

#: versions of the kernels with int16 activations (and int8 weights); without an entry there is none
INT16_VERSIONS: dict[str, int] = {
    "ABS": 3,
    "ADD": 3,
    "AVERAGE_POOL_2D": 3,
    "BATCH_MATMUL": 3,
    "BROADCAST_TO": 3,
    "CONCATENATION": 3,
    "CONV_2D": 4,
    "DEPTHWISE_CONV_2D": 5,
    "DEQUANTIZE": 3,
    "FULLY_CONNECTED": 7,
    "GATHER": 4,
    "GATHER_ND": 3,
    "IF": 1,
    "LEAKY_RELU": 2,
    "LOGISTIC": 3,
    "MAXIMUM": 4,
    "MAX_POOL_2D": 3,
    "MEAN": 3,
    "MINIMUM": 4,
    "MIRROR_PAD": 3,
    "MUL": 4,
    "PAD": 3,
    "PADV2": 3,
    "QUANTIZE": 2,
    "REDUCE_MAX": 3,
    "REDUCE_MIN": 3,
    "RELU": 3,
    "RELU6": 3,
    "RESHAPE": 1,
    "RESIZE_BILINEAR": 4,
    "RESIZE_NEAREST_NEIGHBOR": 4,
    "REVERSE_V2": 1,
    "SELECT_V2": 1,
    "SHAPE": 1,
    "SLICE": 4,
    "SOFTMAX": 3,
    "STRIDED_SLICE": 2,
    "SUB": 5,
    "TANH": 3,
    "TILE": 1,
    "TRANSPOSE": 5,
    "TRANSPOSE_CONV": 3,
    "WHILE": 1,
}

#: input and output must share scale and zero point; most CPU kernels copy the bytes regardless
SAME_SCALE_KINDS = frozenset({
    "AVERAGE_POOL_2D", "BROADCAST_TO", "CONCATENATION", "DEPTH_TO_SPACE", "GATHER", "GATHER_ND",
    "MAXIMUM", "MAX_POOL_2D", "MINIMUM", "MIRROR_PAD", "PAD", "PADV2", "REDUCE_MAX", "REDUCE_MIN",
    "RELU", "RELU6", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2",
    "SELECT_V2", "SLICE", "SPACE_TO_DEPTH", "STRIDED_SLICE", "TILE", "TOPK_V2",
    "TRANSPOSE",
})  # fmt: skip


def version_for(kind: str, stored: np.dtype[Any] | None) -> int:
    """The lowest version whose kernel knows activations of that dtype (None: not quantized)."""
    if stored == np.int16:
        return INT16_VERSIONS.get(kind, 1)
    return KINDS[kind].version if stored is None else KINDS[kind].int8_version


#: output (scale, zero point) that the int8 kernel prescribes
FIXED_OUTPUTS: dict[str, tuple[float, int]] = {
    "LOGISTIC": (1 / 256, -128),
    "LOG_SOFTMAX": (16 / 256, 127),
    "SOFTMAX": (1 / 256, -128),
    "TANH": (1 / 128, 0),
}
#: the same of the int16 kernel
FIXED_INT16_OUTPUTS: dict[str, tuple[float, int]] = {
    "LOGISTIC": (1 / 32768, 0),
    "SOFTMAX": (1 / 32768, 0),
    "TANH": (1 / 32768, 0),
}


def fixed_output(kind: str, stored: np.dtype[Any] | None) -> tuple[float, int] | None:
    """What the kernel of that activation dtype prescribes; None where it takes any parameters."""
    if stored is None:
        return None
    return (FIXED_INT16_OUTPUTS if stored == np.int16 else FIXED_OUTPUTS).get(kind)
