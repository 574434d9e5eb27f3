"""The numbers that Core ML's integer path wants.

Apple's own quantizers (coremltools guide, "Quantizing Weights and Activations") give activations
int8, symmetric, one scale per tensor; weights int8, symmetric, one scale per output channel; biases
in float; and `quantize -> dequantize -> op [-> activation] -> quantize` around each layer, with the
activations of `FUSED_ACTIVATIONS`, which therefore stay nodes of their own; a bias that is added
behind a product is part of the layer. Tensors without negative values, such as those behind a ReLU,
take all 256 integers, as Apple's quantizers have it ("always affine" layers there): the QDQ model
counts them from -128, the package from 0 in uint8 (`unsigned_pairs`). What only moves elements
keeps its input's scale, so that no rounding is added. Scales are chosen among the float16 numbers,
because a package that computes in float16 stores them so: the package then carries exactly the
scales of its QDQ model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from edgewise.calibration.scheme import NumberFormat, Palette, Precision, Scheme
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
    activation=NumberFormat(
        "int8", symmetric=True, scale_dtype="float16", whole_range_if_positive=True
    ),
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

#: whose weights Core ML dequantizes, or looks up, wherever they are read
_WEIGHT_ONLY_OPS = frozenset({"Conv", "ConvTranspose", "Gather", "Gemm", "MatMul"})

#: what Apple's own tools leave alone by default (`weight_threshold` of coremltools.optimize): a
#: table or scales weigh more, beside less
SMALLEST_WEIGHT = 2048
DEFAULT_BLOCK_SIZE = 32

W8 = Scheme(
    target="apple",
    precision="w8",
    weight=W8A8.weight,
    quantized_ops=_WEIGHT_ONLY_OPS,
    smallest_weight=SMALLEST_WEIGHT,
)


def w4(block_size: int) -> Scheme:
    """int4 weights with one scale for each block along the reduced axis, or, with block size 0, for
    each output channel."""
    number = NumberFormat(
        "int4",
        symmetric=True,
        granularity="per_block" if block_size else "per_channel",
        narrow_range=True,
        block_size=block_size,
        scale_dtype="float16",
    )
    return replace(W8, precision="w4", weight=number)


def palette(bits: Literal[4, 6, 8], group_size: int = 0) -> Scheme:
    """Weights in tables of `2**bits` values, one for each `group_size` output channels, or for the
    whole weight."""
    name: Precision = f"palette{bits}"  # type: ignore[assignment]
    return replace(W8, precision=name, weight=None, palette=Palette(bits, group_size))


#: the oldest system with the operations that a format is stored in
_SYSTEMS: dict[Precision, System] = {
    "w8a8": "iOS17",
    "w8": "iOS16",
    "w4": "iOS18",
    "palette8": "iOS16",
    "palette6": "iOS16",
    "palette4": "iOS16",
}

#: the default one first
SCHEMES: dict[str, Scheme] = {
    "fp16": Scheme(target="apple", precision="fp16"),
    "w8a8": W8A8,
    "w8": W8,
    "w4": w4(DEFAULT_BLOCK_SIZE),
    "palette8": palette(8),
    "palette6": palette(6),
    "palette4": palette(4),
    "fp32": Scheme(target="apple", precision="fp32"),
}


def format_needs(scheme: Scheme) -> list[Need]:
    """What a precision asks of the system; nothing where the oldest will do."""
    if scheme.palette is not None and scheme.palette.group_size:
        return [Need(f"{scheme.precision} with a group_size", "iOS18")]
    system = _SYSTEMS.get(scheme.precision)
    return [] if system is None else [Need(scheme.precision, system)]
