"""How ONNX Runtime's CPU provider wants a QDQ model so that ARM64 runs it in integers.

The lists follow the selectors of its QDQ transformer (`qdq_selector_action_transformer.cc`);
`tests/arm/test_arm_fusion.py` asks the installed runtime about each entry.
"""

from __future__ import annotations

from dataclasses import replace

from edgewise.calibration.scheme import QMIN, IntegerType, NumberFormat, QuantParams, Scheme

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

#: with weights alone in integers: become MatMulNBits, see `packed_products`
PACKED_OPS = frozenset({"Gemm", "MatMul"})

#: disappear into the range of the quantized operator before them
FOLDED_OPS = frozenset({"Clip", "Relu"})

#: `format` -> what activations and weights are stored as. Of all cores counted, none gains
#: from another than `s8s8` (docs/precisions-arm.md); x86 without VNNI computes `u8u8` exactly
FORMATS: dict[str, tuple[IntegerType, IntegerType]] = {
    "s8s8": ("int8", "int8"),
    "u8s8": ("uint8", "int8"),
    "u8u8": ("uint8", "uint8"),
}
DEFAULT_FORMAT = "s8s8"

#: weights per channel; unsigned ones with zero point 128, for QLinearConv wants one zero point for
#: all channels
_WEIGHTS: dict[IntegerType, NumberFormat] = {
    "int8": NumberFormat("int8", symmetric=True, granularity="per_channel", narrow_range=True),
    "uint8": NumberFormat("uint8", symmetric=True, granularity="per_channel"),
}


def w8a8(form: str = DEFAULT_FORMAT) -> Scheme:
    """Integers throughout, in a form of `FORMATS`."""
    activation, weight = FORMATS[form]
    # every value of a probability: a narrower range measured on calibration data would saturate
    # two confident classes to the same integer
    probability = QuantParams(scale=1 / 256, zero_point=QMIN[activation])
    return Scheme(
        target=TARGET_NAME,
        precision="w8a8",
        activation=NumberFormat(activation, symmetric=False),
        weight=_WEIGHTS[weight],
        quantized_ops=SHARED_SCALE_OPS | KERNEL_OPS | REWRITTEN_OPS | FOLDED_OPS,
        shared_scale_ops=SHARED_SCALE_OPS,
        fixed_outputs={"Sigmoid": probability, "Softmax": probability},
        fold_activations=True,
    )


def w4(block_size: int) -> Scheme:
    """int4 weights of products; block size 0 gives one scale per output channel."""
    number = replace(_WEIGHTS["int8"], dtype="int4")
    if block_size:
        number = replace(number, granularity="per_block", block_size=block_size)
    return Scheme(TARGET_NAME, "w4", weight=number, quantized_ops=PACKED_OPS)


#: MatMulNBits has kernels for these blocks only
BLOCK_SIZES = (16, 32, 64, 128, 256)
DEFAULT_BLOCK_SIZE = 32

_W8 = Scheme(TARGET_NAME, "w8", weight=_WEIGHTS["int8"], quantized_ops=PACKED_OPS)

SCHEMES: dict[str, Scheme] = {
    scheme.precision: scheme
    for scheme in (
        w8a8(),
        _W8,
        w4(DEFAULT_BLOCK_SIZE),
        Scheme(TARGET_NAME, "fp16"),
        Scheme(TARGET_NAME, "fp32"),
    )
}

#: precisions that ONNX Runtime's CPU provider reads but gains nothing by, with the reason
WITHOUT_KERNELS = {
    "w8a16": "ONNX Runtime's CPU provider has no kernel for 16-bit activations: each operator would"
    " run in float between conversions",
    "bf16": "ONNX Runtime's CPU provider has next to no kernel for bfloat16",
}
