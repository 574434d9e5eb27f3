"""The numbers that Core ML's integer path wants.

Apple's own quantizers (coremltools guide, "Quantizing Weights and Activations") give activations
int8, symmetric, one scale per tensor; weights int8, symmetric, one scale per output channel; biases
in float; and `quantize -> dequantize -> op [-> activation] -> quantize` around each layer, with the
activations of `FUSED_ACTIVATIONS`, which therefore stay nodes of their own; a bias that is added
behind a product is part of the layer. What only moves elements keeps its input's scale, so that no
rounding is added. Scales are chosen among the float16 numbers, because a package that computes
in float16 stores them so: the package then carries exactly the scales of its QDQ model.
"""

from __future__ import annotations

from edgewise.calibration.scheme import NumberFormat, Precision, Scheme
from edgewise.targets.apple.deployment import Need, System

QUANTIZED_OPS = frozenset(
    {
        "Add", "AveragePool", "Celu", "Clip", "Concat", "Conv", "ConvTranspose", "DepthToSpace",
        "Div", "Elu", "Flatten", "Gather", "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool",
        "HardSigmoid", "HardSwish", "LeakyRelu", "MatMul", "MaxPool", "Mish", "Mul", "PRelu",
        "Pad", "ReduceMean", "Relu", "Reshape", "Resize", "Selu", "Sigmoid", "Slice",
        "SpaceToDepth", "Split", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze",
    }
)  # fmt: skip

#: what Apple's quantizers leave between a layer and its `quantize` (`_supported_activations` of
#: coremltools.optimize.torch, and PRelu, which its other quantizer has)
FUSED_ACTIVATIONS = frozenset(
    {
        "Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu",
        "Relu", "Selu", "Sigmoid", "Tanh",
    }
)  # fmt: skip

#: operators that give back elements of their input
SHARED_SCALE_OPS = frozenset(
    {
        "DepthToSpace", "Flatten", "Gather", "GlobalMaxPool", "MaxPool", "Pad", "Reshape", "Slice",
        "SpaceToDepth", "Split", "Squeeze", "Transpose", "Unsqueeze",
    }
)  # fmt: skip

W8A8 = Scheme(
    target="apple",
    precision="w8a8",
    activation=NumberFormat("int8", symmetric=True, scale_dtype="float16"),
    weight=NumberFormat(
        "int8",
        symmetric=True,
        granularity="per_channel",
        narrow_range=True,
        scale_dtype="float16",
    ),
    quantized_ops=QUANTIZED_OPS,
    shared_scale_ops=SHARED_SCALE_OPS,
    fused_activations=FUSED_ACTIVATIONS,
    whole_composites=True,
)

#: the oldest system with the operations that a format is stored in
_SYSTEMS: dict[Precision, System] = {"w8a8": "iOS17"}

#: the default one first
SCHEMES: dict[str, Scheme] = {
    "fp16": Scheme(target="apple", precision="fp16"),
    "w8a8": W8A8,
    "fp32": Scheme(target="apple", precision="fp32"),
}


def format_needs(scheme: Scheme) -> list[Need]:
    """What a precision asks of the system; nothing where the oldest will do."""
    system = _SYSTEMS.get(scheme.precision)
    return [] if system is None else [Need(scheme.precision, system)]
