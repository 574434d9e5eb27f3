"""How TFLite's int8 kernels want a QDQ model (quantization specification of TFLite)."""

from __future__ import annotations

from edgewise.calibration.scheme import NumberFormat, QuantParams, Scheme
from edgewise.targets.android.kinds import FIXED_OUTPUTS
from edgewise.targets.android.ops.table import INT8_OPERATORS

#: ArgMax and ArgMin read int8 but write indices: there is no output to quantize
_QUANTIZED_OPS = INT8_OPERATORS - {"ArgMax", "ArgMin"}

SHARED_SCALE_OPS = frozenset({
    "AveragePool", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GatherND",
    "GlobalMaxPool", "Identity", "Max", "MaxPool", "Min", "Pad", "ReduceMax", "ReduceMin",
    "Reshape", "Resize", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose",
    "Unsqueeze", "Upsample", "Where",
})  # fmt: skip

_FIXED_BY_OPERATOR = {
    "LogSoftmax": "LOG_SOFTMAX",
    "Sigmoid": "LOGISTIC",
    "Softmax": "SOFTMAX",
    "Tanh": "TANH",
}

FP32 = Scheme(target="android", precision="fp32")

W8A8 = Scheme(
    target="android",
    precision="w8a8",
    activation=NumberFormat("int8", symmetric=False),
    weight=NumberFormat("int8", symmetric=True, granularity="per_channel", narrow_range=True),
    quantized_ops=_QUANTIZED_OPS,
    shared_scale_ops=SHARED_SCALE_OPS,
    fixed_outputs={
        operator: QuantParams(*FIXED_OUTPUTS[kind]) for operator, kind in _FIXED_BY_OPERATOR.items()
    },
    fold_activations=True,
    bias_required=True,
)

SCHEMES: dict[str, Scheme] = {scheme.precision: scheme for scheme in (W8A8, FP32)}
