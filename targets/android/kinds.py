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
    "AVERAGE_POOL_2D": Kind("Pool2DOptions"),
    "BATCH_MATMUL": Kind("BatchMatMulOptions"),
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
    "ELU": Kind(None, int8_version=1),
    "EQUAL": Kind("EqualOptions"),
    "EXP": Kind("ExpOptions"),
    "FLOOR": Kind(None),
    "FLOOR_MOD": Kind("FloorModOptions"),
    "FULLY_CONNECTED": Kind("FullyConnectedOptions", int8_version=4),
    "GATHER": Kind("GatherOptions"),
    "GATHER_ND": Kind("GatherNdOptions"),
    "GELU": Kind("GeluOptions"),
    "GREATER": Kind("GreaterOptions"),
    "GREATER_EQUAL": Kind("GreaterEqualOptions"),
    "HARD_SWISH": Kind("HardSwishOptions", int8_version=1),
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
    "NOT_EQUAL": Kind("NotEqualOptions"),
    "PAD": Kind("PadOptions"),
    "PADV2": Kind("PadV2Options"),
    "POW": Kind("PowOptions"),
    "PRELU": Kind(None, int8_version=1),
    "QUANTIZE": Kind("QuantizeOptions", int8_version=1),
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
    "REVERSE_V2": Kind("ReverseV2Options"),
    "ROUND": Kind(None),
    "RSQRT": Kind(None),
    "SELECT_V2": Kind("SelectV2Options", int8_version=1),
    "SIGN": Kind("SignOptions"),
    "SIN": Kind(None),
    "SLICE": Kind("SliceOptions"),
    "SOFTMAX": Kind("SoftmaxOptions"),
    "SPACE_TO_DEPTH": Kind("SpaceToDepthOptions"),
    "SQRT": Kind(None),
    "SQUARED_DIFFERENCE": Kind("SquaredDifferenceOptions"),
    "STRIDED_SLICE": Kind("StridedSliceOptions"),
    "SUB": Kind("SubOptions"),
    "SUM": Kind("ReducerOptions"),
    "TANH": Kind(None),
    "TILE": Kind("TileOptions"),
    "TRANSPOSE": Kind("TransposeOptions"),
    "TRANSPOSE_CONV": Kind("TransposeConvOptions"),
}

#: input and output must share scale and zero point; most CPU kernels copy the bytes regardless
SAME_SCALE_KINDS = frozenset({
    "AVERAGE_POOL_2D", "BROADCAST_TO", "CONCATENATION", "DEPTH_TO_SPACE", "GATHER", "GATHER_ND",
    "MAXIMUM", "MAX_POOL_2D", "MINIMUM", "MIRROR_PAD", "PAD", "PADV2", "REDUCE_MAX", "REDUCE_MIN",
    "RELU", "RELU6", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2",
    "SELECT_V2", "SLICE", "SPACE_TO_DEPTH", "STRIDED_SLICE", "TILE", "TRANSPOSE",
})  # fmt: skip

#: output (scale, zero point) that the int8 kernel prescribes
FIXED_OUTPUTS: dict[str, tuple[float, int]] = {
    "LOGISTIC": (1 / 256, -128),
    "LOG_SOFTMAX": (16 / 256, 127),
    "SOFTMAX": (1 / 256, -128),
    "TANH": (1 / 128, 0),
}

#: int8 operators that XNNPACK leaves to the slower built-in kernels (LiteRT 2.3, x86-64)
NOT_DELEGATED_INT8 = frozenset({
    "ABS", "ARG_MAX", "ARG_MIN", "AVERAGE_POOL_2D", "BROADCAST_TO", "GATHER", "GATHER_ND", "GELU",
    "HARD_SWISH", "LOG_SOFTMAX", "MAXIMUM", "MINIMUM", "MIRROR_PAD", "NEG", "PADV2", "PRELU",
    "RELU", "RELU6", "RESIZE_NEAREST_NEIGHBOR", "SELECT_V2", "SOFTMAX", "STRIDED_SLICE", "TILE",
})  # fmt: skip
