"""The GPU delegate of TFLite (`TfLiteGpuDelegateV2`), as its own source decides.

Facts from the LiteRT repository, github.com/google-ai-edge/LiteRT, read in November 2026:
1. Operators: `NewOperationParser` in tflite/delegates/gpu/common/model_builder.cc. QUANTIZE and
   DEQUANTIZE need quantized inference to be enabled, as it is by default.
2. Types and ranks of everything that is no constant: `GetOpsToReplace` and `IsAllAllowedTensors`
   there. float32, float16, int8 and uint8, of at most four dimensions; bool out of comparisons, and
   some more for the operators of `_MORE_TYPES`.
3. Conditions on single operators: tflite/tools/versioning/gpu_compatibility.cc.
The documentation, ai.google.dev/edge/litert/performance/gpu, lists fewer operators (25), and is
older than the source.
"""

from __future__ import annotations

from edgewise.targets.android.delegates.rules import RuleTable
from edgewise.targets.android.model import Operator, Tensor

_TAKES = frozenset({
    "ABS", "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CAST", "CONCATENATION", "CONV_2D", "COS",
    "CUMSUM", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DEQUANTIZE", "DIV", "ELU", "EQUAL", "EXP",
    "FLOOR", "FLOOR_DIV", "FLOOR_MOD", "FULLY_CONNECTED", "GATHER", "GELU", "GREATER",
    "GREATER_EQUAL", "HARD_SWISH", "LEAKY_RELU", "LESS", "LESS_EQUAL", "LOG", "LOGICAL_AND",
    "LOGISTIC", "LSTM", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MIRROR_PAD", "MUL", "NEG",
    "NOT_EQUAL", "ONE_HOT", "PACK", "PAD", "PADV2", "POW", "PRELU", "QUANTIZE", "REDUCE_MAX",
    "REDUCE_MIN", "REDUCE_PROD", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "RESHAPE",
    "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "RSQRT", "SELECT_V2", "SIGN", "SIN", "SLICE",
    "SOFTMAX", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQRT", "SQUARE", "SQUARED_DIFFERENCE",
    "STRIDED_SLICE", "SUB", "SUM", "TANH", "TILE", "TRANSPOSE", "TRANSPOSE_CONV", "UNPACK",
})  # fmt: skip
_TYPES = frozenset({"float32", "float16", "int8", "uint8"})
_COMPARISONS = ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL")
#: types beside these, of inputs and of outputs
_MORE_TYPES: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    **{kind: (frozenset(), frozenset({"bool"})) for kind in _COMPARISONS},
    "CAST": (frozenset({"bool", "int32"}), frozenset({"bool", "int32"})),
    "GATHER": (frozenset({"int32"}), frozenset()),
    "LOGICAL_AND": (frozenset({"bool"}), frozenset({"bool"})),
    "ONE_HOT": (frozenset({"int32"}), frozenset()),
    "SELECT_V2": (frozenset({"bool"}), frozenset()),
}
_MOST_DIMENSIONS = 4
_REFLECT = 0


def _types_and_ranks(operator: Operator) -> str | None:
    more = _MORE_TYPES.get(operator.kind, (frozenset(), frozenset()))
    for tensors, others in ((operator.inputs, more[0]), (operator.outputs, more[1])):
        for tensor in tensors:
            if len(tensor.shape) > _MOST_DIMENSIONS:
                return "more than four dimensions"
            if tensor.data is None and tensor.dtype.name not in _TYPES | others:
                return f"{tensor.dtype.name} values"
    return None


def _runtime_inputs(operator: Operator) -> list[Tensor]:
    return [tensor for tensor in operator.inputs if tensor.data is None]


def _one_runtime_input(operator: Operator) -> str | None:
    return "computed parameters" if len(_runtime_inputs(operator)) != 1 else None


def _three_or_four_dimensions(operator: Operator) -> str | None:
    return (
        None if len(operator.inputs[0].shape) in (3, 4) else "data of fewer than three dimensions"
    )


def _strided_slice(operator: Operator) -> str | None:
    if any(operator.options.get(f"{name}Mask") for name in ("ellipsis", "newAxis", "shrinkAxis")):
        return "axes that appear or vanish"
    return _three_or_four_dimensions(operator)


def _padding(operator: Operator) -> str | None:
    if operator.kind == "MIRROR_PAD" and operator.options.get("mode", _REFLECT) != _REFLECT:
        return "symmetric padding"
    if operator.inputs[1].shape not in ((3, 2), (4, 2)):
        return "data of fewer than three dimensions"
    return _one_runtime_input(operator)


def _fully_connected(operator: Operator) -> str | None:
    ranks = len(operator.inputs[0].shape), len(operator.outputs[0].shape)
    if operator.options.get("keepNumDims") and ranks[0] != ranks[1]:
        return "an output of another rank"
    return None if len(_runtime_inputs(operator)) <= 2 else "a computed bias"


def _gather(operator: Operator) -> str | None:
    indices = operator.inputs[1]
    if len(indices.shape) != 1:
        return "indices of another rank than one"
    return None if indices.dtype.name == "int32" else f"{indices.dtype.name} indices"


def _select(operator: Operator) -> str | None:
    if operator.inputs[0].dtype.name not in ("bool", "float16", "float32"):
        return f"a condition of {operator.inputs[0].dtype.name}"
    for branch in operator.inputs[1:]:
        single = len(branch.shape) <= 1 and all(dim == 1 for dim in branch.shape)
        if not single and branch.shape != operator.outputs[0].shape:
            return "branches of another shape"
    return None


def _cumsum(operator: Operator) -> str | None:
    fits = operator.inputs[0].dtype.name in ("float16", "float32")
    return None if fits else "sums of other types than float"


def _dequantize(operator: Operator) -> str | None:
    return "int16 values" if operator.inputs[0].dtype.name == "int16" else None


GPU = RuleTable(
    delegate="gpu",
    title="the GPU delegate",
    version="2026-11",
    source="github.com/google-ai-edge/LiteRT tflite/delegates/gpu, tflite/tools/versioning",
    takes=_TAKES,
    rules={
        "AVERAGE_POOL_2D": _one_runtime_input,
        "CUMSUM": _cumsum,
        "DEQUANTIZE": _dequantize,
        "FULLY_CONNECTED": _fully_connected,
        "GATHER": _gather,
        "MEAN": _one_runtime_input,
        "MIRROR_PAD": _padding,
        "PAD": _padding,
        "PADV2": _padding,
        "REDUCE_MAX": _one_runtime_input,
        "REDUCE_MIN": _one_runtime_input,
        "REDUCE_PROD": _one_runtime_input,
        "RESHAPE": _one_runtime_input,
        "SELECT_V2": _select,
        "SLICE": _three_or_four_dimensions,
        "STRIDED_SLICE": _strided_slice,
        "SUM": _one_runtime_input,
        "TILE": _one_runtime_input,
        "TRANSPOSE": _one_runtime_input,
    },
    everywhere=_types_and_ranks,
)
