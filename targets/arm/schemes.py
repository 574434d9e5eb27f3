"""How ONNX Runtime's CPU provider wants a QDQ model so that ARM64 runs it in integers.

The lists follow the selectors of its QDQ transformer (`qdq_selector_action_transformer.cc`);
`tests/arm/test_arm_fusion.py` asks the installed runtime about each entry.
"""

from __future__ import annotations

from edgewise.calibration.scheme import NumberFormat, QuantParams, Scheme

TARGET_NAME = "arm"

#: the runtime drops Q and DQ around these, and runs the operator on the stored integers, only
#: where input and output carry one scale and zero point
SHARED_SCALE_OPS = frozenset(
    {
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "MaxPool",
        "Pad",  # ours: see `integer_pad`
        "ReduceMax",
        "ReduceMin",
        "Reshape",
        "Resize",
        "Slice",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)

#: replaced by a QLinear kernel, whatever the scales
KERNEL_OPS = frozenset(
    {
        "Add",
        "AveragePool",
        "Concat",
        "Conv",
        "Gemm",
        "GlobalAveragePool",
        "LeakyRelu",
        "MatMul",
        "Mul",
        "Sigmoid",
        "Softmax",
        "Where",
    }
)

#: become an operator with a kernel, see `global_pool`
REWRITTEN_OPS = frozenset({"ReduceMean"})

#: disappear into the range of the quantized operator before them
FOLDED_OPS = frozenset({"Clip", "Relu"})

#: every value of a probability: a narrower range measured on calibration data would saturate
#: two confident classes to the same integer
_PROBABILITY = QuantParams(scale=1 / 256, zero_point=-128)

_W8A8 = Scheme(
    target=TARGET_NAME,
    precision="w8a8",
    activation=NumberFormat("int8", symmetric=False),
    weight=NumberFormat("int8", symmetric=True, granularity="per_channel", narrow_range=True),
    quantized_ops=SHARED_SCALE_OPS | KERNEL_OPS | REWRITTEN_OPS | FOLDED_OPS,
    shared_scale_ops=SHARED_SCALE_OPS,
    fixed_outputs={"Sigmoid": _PROBABILITY, "Softmax": _PROBABILITY},
    fold_activations=True,
)
_FP32 = Scheme(target=TARGET_NAME, precision="fp32")

SCHEMES = {"w8a8": _W8A8, "fp32": _FP32}
