"""The numbers that Core ML's integer path wants.

Apple's documentation of `linear_quantize_activations` (coremltools guide, "Quantizing Weights and
Activations") describes int8 symmetric activations with one scale per tensor, int8 symmetric weights
with one scale per output channel, biases in float, and `quantize -> dequantize -> op [-> activation]
-> quantize` around each layer. Relu and Clip therefore stay nodes of their own.
"""

from __future__ import annotations

from edgewise.calibration.scheme import PRECISION_ALIASES, NumberFormat, Precision, Scheme
from edgewise.errors import UnsupportedPrecision

#: the default one first
PRECISIONS: tuple[Precision, ...] = ("fp16", "w8a8", "fp32")

QUANTIZED_OPS = frozenset(
    {
        "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "DepthToSpace", "Div",
        "Elu", "Flatten", "Gather", "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool",
        "HardSigmoid", "HardSwish", "LeakyRelu", "MatMul", "MaxPool", "Mul", "PRelu", "Pad",
        "ReduceMean", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "SpaceToDepth", "Split",
        "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze",
    }
)  # fmt: skip

W8A8 = Scheme(
    target="apple",
    precision="w8a8",
    activation=NumberFormat("int8", symmetric=True),
    weight=NumberFormat("int8", symmetric=True, granularity="per_channel", narrow_range=True),
    quantized_ops=QUANTIZED_OPS,
)


def scheme(precision: str) -> Scheme:
    """The scheme of a precision or of its alias. Raises UnsupportedPrecision."""
    name = canonical(precision)
    return W8A8 if name == "w8a8" else Scheme(target="apple", precision=name)


def canonical(precision: str) -> Precision:
    """The precision's own name. Raises UnsupportedPrecision when the target does not offer it."""
    name = PRECISION_ALIASES.get(precision, precision)
    for offered in PRECISIONS:
        if name == offered:
            return offered
    raise UnsupportedPrecision(
        f"the apple target does not offer '{precision}'",
        remedy=f"Choose one of {', '.join(PRECISIONS)}.",
    )
