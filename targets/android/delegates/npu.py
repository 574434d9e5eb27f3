"""NPUs whose LiteRT compiler plug-ins are public, by the operators that these accept.

A plug-in hands what it accepts to the vendor's compiler, which has limits of its own (types, sizes,
chip) that are not public as a whole; a table says what can be handed over at all. Facts from
github.com/google-ai-edge/LiteRT, litert/vendors, read in November 2026:
1. Qualcomm HTP: qualcomm/compiler/Qualcomm_QNN_Compiler.md. Blockwise quantization is refused.
2. MediaTek: mediatek/compiler/MediaTek_Neuro_Compiler.md. int64 as constants only, int16 quantized
   per tensor only, blockwise quantization refused.
3. Google Tensor: google_tensor/compiler/compiler_plugin.cc lists what it does not take; whatever
   else is given to the compiler, which may still refuse it.
"""

from __future__ import annotations

from edgewise.targets.android.delegates.rules import RuleTable
from edgewise.targets.android.model import Operator

_VERSION = "2026-11"
_FOLDER = "github.com/google-ai-edge/LiteRT litert/vendors"

_QUALCOMM = frozenset({
    "ABS", "ADD", "ARG_MAX", "ARG_MIN", "AVERAGE_POOL_2D", "BATCH_MATMUL", "BROADCAST_TO", "CAST",
    "CEIL", "CONCATENATION", "CONV_2D", "CONV_3D", "COS", "CUMSUM", "DEPTHWISE_CONV_2D",
    "DEPTH_TO_SPACE", "DEQUANTIZE", "DIV", "DYNAMIC_UPDATE_SLICE", "ELU", "EMBEDDING_LOOKUP",
    "EQUAL", "EXP", "FLOOR", "FLOOR_DIV", "FULLY_CONNECTED", "GATHER", "GATHER_ND", "GELU",
    "GREATER", "GREATER_EQUAL", "HARD_SWISH", "L2_NORMALIZATION", "L2_POOL_2D", "LEAKY_RELU",
    "LESS", "LESS_EQUAL", "LOG", "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR", "LOGISTIC", "MAXIMUM",
    "MAX_POOL_2D", "MEAN", "MINIMUM", "MIRROR_PAD", "MUL", "NEG", "NOT_EQUAL", "PACK", "PAD",
    "PADV2", "POW", "PRELU", "QUANTIZE", "REDUCE_ALL", "REDUCE_ANY", "REDUCE_MAX", "REDUCE_MIN",
    "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "ROUND", "RSQRT", "SELECT", "SELECT_V2", "SIGN", "SIN",
    "SLICE", "SOFTMAX", "SPACE_TO_DEPTH", "SPLIT", "SQRT", "SQUARE", "SQUARED_DIFFERENCE",
    "STRIDED_SLICE", "SUB", "SUM", "TANH", "TILE", "TOPK_V2", "TRANSPOSE", "TRANSPOSE_CONV",
    "UNPACK",
})  # fmt: skip
_MEDIATEK = frozenset({
    "ABS", "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CAST", "CONCATENATION", "CONV_2D",
    "DEPTHWISE_CONV_2D", "DEQUANTIZE", "DIV", "FULLY_CONNECTED", "GELU", "GREATER", "HARD_SWISH",
    "L2_NORMALIZATION", "LEAKY_RELU", "LESS", "LOGISTIC", "MAXIMUM", "MAX_POOL_2D", "MEAN",
    "MINIMUM", "MUL", "PAD", "PADV2", "PRELU", "QUANTIZE", "REDUCE_MAX", "RELU", "RESHAPE",
    "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "RSQRT", "SLICE", "SOFTMAX", "SPLIT", "SQRT",
    "SQUARED_DIFFERENCE", "STRIDED_SLICE", "SUB", "SUM", "TANH", "TILE", "TRANSPOSE",
    "TRANSPOSE_CONV", "UNPACK",
})  # fmt: skip
_NOT_GOOGLE_TENSOR = frozenset({
    "ASSIGN_VARIABLE", "BIDIRECTIONAL_SEQUENCE_LSTM", "BROADCAST_ARGS", "BUCKETIZE", "CALL_ONCE",
    "COMPLEX_ABS", "CONV_3D", "CONV_3D_TRANSPOSE", "CUSTOM", "DENSIFY", "FAKE_QUANT", "HASHTABLE",
    "HASHTABLE_FIND", "HASHTABLE_IMPORT", "HASHTABLE_SIZE", "IMAG", "LOCAL_RESPONSE_NORMALIZATION",
    "MATRIX_DIAG", "MATRIX_SET_DIAG", "MULTINOMIAL", "NON_MAX_SUPPRESSION_V4",
    "NON_MAX_SUPPRESSION_V5", "RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM", "RANK", "READ_VARIABLE",
    "REAL", "REDUCE_PROD", "REVERSE_SEQUENCE", "RFFT2D", "SEGMENT_SUM", "SHAPE", "SPARSE_TO_DENSE",
    "SVDF", "UNIDIRECTIONAL_SEQUENCE_RNN", "UNIQUE", "UNSORTED_SEGMENT_MAX", "UNSORTED_SEGMENT_MIN",
    "UNSORTED_SEGMENT_PROD", "UNSORTED_SEGMENT_SUM", "VAR_HANDLE", "WHERE",
})  # fmt: skip


def _mediatek_types(operator: Operator) -> str | None:
    for tensor in (*operator.inputs, *operator.outputs):
        quantized = tensor.quantization
        if tensor.dtype.name == "int64" and tensor.data is None:
            return "int64 values"
        if tensor.dtype.name == "int16" and quantized is not None and not quantized.is_per_tensor:
            return "int16 values quantized per channel"
    return None


QUALCOMM = RuleTable(
    delegate="qualcomm",
    title="the Qualcomm HTP plug-in",
    version=_VERSION,
    source=f"{_FOLDER}/qualcomm/compiler/Qualcomm_QNN_Compiler.md",
    takes=_QUALCOMM,
)
MEDIATEK = RuleTable(
    delegate="mediatek",
    title="the MediaTek plug-in",
    version=_VERSION,
    source=f"{_FOLDER}/mediatek/compiler/MediaTek_Neuro_Compiler.md",
    takes=_MEDIATEK,
    everywhere=_mediatek_types,
)
GOOGLE_TENSOR = RuleTable(
    delegate="google_tensor",
    title="the Google Tensor plug-in",
    version=_VERSION,
    source=f"{_FOLDER}/google_tensor/compiler/compiler_plugin.cc",
    leaves=_NOT_GOOGLE_TENSOR,
)
