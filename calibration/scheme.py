"""The quantization vocabulary: how a target wants its numbers.

Everything here is a frozen value; nothing here computes on a model. Terms follow the ONNX
QuantizeLinear specification: `real = (quantized - zero_point) * scale`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Precision = Literal[
    "fp32", "fp16", "bf16", "w8a8", "w8a16", "w8", "w4", "palette8", "palette6", "palette4"
]
Granularity = Literal["per_tensor", "per_channel", "per_block"]
IntegerType = Literal["int4", "uint4", "int8", "uint8", "int16", "uint16"]

PRECISION_ALIASES: Mapping[str, Precision] = {"int8": "w8a8"}

QMIN: Mapping[IntegerType, int] = {
    "int4": -8, "uint4": 0, "int8": -128, "uint8": 0, "int16": -32768, "uint16": 0,
}  # fmt: skip
QMAX: Mapping[IntegerType, int] = {
    "int4": 7, "uint4": 15, "int8": 127, "uint8": 255, "int16": 32767, "uint16": 65535,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class QuantParams:
    """Per-tensor scale and zero point, prescribed rather than measured."""

    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How one kind of tensor (activations, or weights) is stored."""

    dtype: IntegerType
    symmetric: bool  # zero_point is 0 (signed) or mid-range (unsigned)
    granularity: Granularity = "per_tensor"
    narrow_range: bool = False  # signed values stay in [-qmax, qmax]: int8 in [-127, 127]
    #: a tensor of a symmetric format that has no negative values counts from qmin, so that no
    #: integer is wasted: its zero point is qmin (where the target stores it unsigned, 0)
    whole_range_if_positive: bool = False
    block_size: int = 0  # values along the reduced axis that share a scale, where `per_block`
    #: scales are numbers of this type, where the target stores them so; always kept as float32
    scale_dtype: Literal["float32", "float16", "bfloat16"] = "float32"


@dataclass(frozen=True, slots=True)
class Palette:
    """Weights as places in a table of at most `2**bits` values."""

    bits: Literal[4, 6, 8]
    group_size: int = 0  # output channels that share a table; 0: the whole weight has one
    #: table values are numbers of this type, where they fit it
    value_dtype: Literal["float32", "float16"] = "float16"


@dataclass(frozen=True, slots=True)
class Scheme:
    """What a target's integer kernels demand of a QDQ model. Float precisions have no formats."""

    target: str
    precision: Precision
    activation: NumberFormat | None = None
    weight: NumberFormat | None = None
    #: operators to quantize; any other stays in float between DequantizeLinear and QuantizeLinear
    quantized_ops: frozenset[str] = frozenset()
    #: operators whose quantized inputs and outputs must carry one scale and zero point
    shared_scale_ops: frozenset[str] = frozenset()
    #: operators whose output scale and zero point the kernel prescribes
    fixed_outputs: Mapping[str, QuantParams] = field(default_factory=dict)
    #: Relu and Clip disappear into the quantized range of their producer
    fold_activations: bool = False
    #: activations that the kernel of their producer computes before it quantizes its output: where
    #: they cannot disappear, the tensor between the two is not quantized
    fused_activations: frozenset[str] = frozenset({"Relu", "Clip"})
    #: quantized Conv/Gemm always carry an int32 bias of scale s_in * s_w and zero point 0
    bias_required: bool = False
    #: a product and the constant vector added to it, and `x * sigmoid(x)` and the like, are
    #: computed whole: nothing inside them is quantized
    whole_composites: bool = False
    #: in place of `weight`: the model stays float, with few different values in each weight
    palette: Palette | None = None
    #: weights of fewer elements stay float where weights alone are quantized
    smallest_weight: int = 256

    @property
    def is_quantized(self) -> bool:
        return self.weight is not None or self.palette is not None

    @property
    def needs_statistics(self) -> bool:
        """Whether activations are quantized: weights alone need no calibration data."""
        return self.activation is not None
