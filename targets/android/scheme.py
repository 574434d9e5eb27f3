"""How TFLite's integer kernels want a QDQ model (quantization specification of TFLite)."""

from __future__ import annotations

from dataclasses import replace

from edgewise.calibration.scheme import NumberFormat, QuantParams, Scheme
from edgewise.targets.android.kinds import FIXED_INT16_OUTPUTS, FIXED_OUTPUTS
from edgewise.targets.android.ops.table import INT8_OPERATORS, INT16_OPERATORS

#: ArgMax and ArgMin read int8 but write indices: there is no output to quantize. The others have
#: an integer form where both ends are quantized anyway, but results that int8 holds badly
_QUANTIZED_OPS = INT8_OPERATORS - {
    "ArgMax", "ArgMin", "Div", "Exp", "Log", "Neg", "Pow", "ReduceSum",
}  # fmt: skip

SHARED_SCALE_OPS = frozenset({
    "AveragePool", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather",
    "GatherElements", "GatherND", "GlobalMaxPool", "Identity", "Max", "MaxPool", "Min", "Pad",
    "ReduceMax", "ReduceMin", "Reshape", "Resize", "Scatter", "ScatterElements", "ScatterND",
    "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "TopK", "Transpose", "Unsqueeze",
    "Upsample", "Where",
})  # fmt: skip

_FIXED_BY_OPERATOR = {
    "LogSoftmax": "LOG_SOFTMAX",
    "Sigmoid": "LOGISTIC",
    "Softmax": "SOFTMAX",
    "Tanh": "TANH",
}

FP32 = Scheme(target="android", precision="fp32")
FP16 = Scheme(target="android", precision="fp16")

_WEIGHT = NumberFormat("int8", symmetric=True, granularity="per_channel", narrow_range=True)

W8A8 = Scheme(
    target="android",
    precision="w8a8",
    activation=NumberFormat("int8", symmetric=False),
    weight=_WEIGHT,
    quantized_ops=_QUANTIZED_OPS,
    shared_scale_ops=SHARED_SCALE_OPS,
    fixed_outputs={
        operator: QuantParams(*FIXED_OUTPUTS[kind]) for operator, kind in _FIXED_BY_OPERATOR.items()
    },
    fold_activations=True,
    bias_required=True,
)

#: int16x8: zero points are 0, so that no range can stand for a Relu, which is fused instead
W8A16 = Scheme(
    target="android",
    precision="w8a16",
    activation=NumberFormat("int16", symmetric=True),
    weight=_WEIGHT,
    quantized_ops=INT16_OPERATORS,
    shared_scale_ops=SHARED_SCALE_OPS & INT16_OPERATORS,
    fixed_outputs={
        operator: QuantParams(*FIXED_INT16_OUTPUTS[kind])
        for operator, kind in _FIXED_BY_OPERATOR.items()
        if kind in FIXED_INT16_OUTPUTS
    },
    fold_activations=True,
    bias_required=True,
)

#: FULLY_CONNECTED with integer weights quantizes its input on the fly; convolutions would be slower
#: so than in float
_WEIGHT_ONLY_OPS = frozenset({"Gemm", "MatMul"})

W8 = Scheme(target="android", precision="w8", weight=_WEIGHT, quantized_ops=_WEIGHT_ONLY_OPS)


def w4(block_size: int) -> Scheme:
    """int4 weights with one scale for each block along the reduced axis, or, with block size 0, one
    float32 scale per output channel. Block scales are float16 in the file, and XNNPACK reads them
    as bfloat16: only numbers of both types mean the same everywhere."""
    number = NumberFormat("int4", symmetric=True, granularity="per_channel", narrow_range=True)
    if block_size:
        number = replace(
            number, granularity="per_block", block_size=block_size, scale_dtype="bfloat16"
        )
    return Scheme(target="android", precision="w4", weight=number, quantized_ops=_WEIGHT_ONLY_OPS)


W4 = w4(block_size=32)

SCHEMES: dict[str, Scheme] = {
    scheme.precision: scheme for scheme in (W8A8, W8A16, W8, W4, FP16, FP32)
}
