"""The rules, as data, because nobody outside Apple knows the truth; each says where it was read:

A   Apple's coremltools guide: typed execution, flexible input shapes, quantization performance
T   Apple, "Deploying Transformers on the Apple Neural Engine" (2022)
F   measurements published by the ANEForge project and its ane-guide (M1 to M5)
H   the neural-engine notes of M. Hollemans, partly conjecture
W   compute plans published with WhisperKit

They are advice: on a device `MLComputePlan` tells where each operation really runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgewise.findings import Severity

Effect = Literal["leaves", "may leave", "costs"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A remark on operations of a MIL program.

    Attributes:
        operations: MIL operation types; empty for all that compute.
        effect: whether the operation `leaves` the Neural Engine, `may leave` it, or stays and costs
            more than it could.
        measure: a key of `measures.MEASURES`; the rule speaks where it exceeds `above`. Empty: it
            speaks of each of the operations.
        chips: the chips or systems that the rule is about, where not all.
    """

    rule: str
    operations: frozenset[str]
    effect: Effect
    message: str
    remedy: str
    source: str
    measure: str = ""
    above: float = 0
    chips: str = ""

    @property
    def severity(self) -> Severity:
        """No rule is an error: the package is right wherever it runs."""
        return "warning" if self.effect == "leaves" else "info"


def _of(*operations: str) -> frozenset[str]:
    return frozenset(operations)


RULES = (
    Rule(
        "apple/ane-no-path",
        _of(
            "acos", "asin", "atanh", "band_part", "cond", "cosh", "cumsum", "gru",
            "list_gather", "list_length", "list_read", "list_scatter", "list_write", "logical_and",
            "logical_or", "logical_xor", "lstm", "make_list", "mod", "non_maximum_suppression",
            "non_zero", "one_hot", "range_1d", "reduce_prod", "reverse_sequence", "rnn", "scatter",
            "scatter_along_axis", "scatter_nd", "shape", "sinh", "sliding_windows", "tan",
            "while_loop",
        ),
        "leaves",
        "the Neural Engine has no path for this operation; the graph is split around it",
        "Express it with multiplications, additions or comparisons, or move it out of the model.",
        "F,H",
    ),
    Rule(
        "apple/ane-gather",
        _of("gather", "gather_along_axis"),
        "leaves",
        "gathers run on the CPU in practice",
        "Use Slice where the indices are consecutive, or look embeddings up outside the model.",
        "H,W",
    ),
    Rule(
        "apple/ane-a14",
        _of(
            "affine", "argsort", "crop_resize", "gather_nd", "resample", "resize",
            "resize_bilinear", "resize_nearest_neighbor", "topk", "upsample_bilinear",
            "upsample_nearest_neighbor",
        ),
        "may leave",
        "the Neural Engine takes this operation from A14 on",
        "",
        "F",
        chips="before A14",
    ),
    Rule(
        "apple/ane-a15",
        _of("cos", "reduce_argmin", "sin"),
        "may leave",
        "the Neural Engine takes this operation from A15 on",
        "",
        "F",
        chips="before A15, M2",
    ),
    Rule(
        "apple/ane-fp32",
        frozenset(),
        "leaves",
        "it computes in fp32, and the Neural Engine in fp16 only",
        "Keep its constants within the range of fp16 (65504).",
        "A",
        measure="fp32_results",
    ),
    Rule(
        "apple/ane-int32",
        frozenset(),
        "leaves",
        "it computes integers of 32 bits, which the Neural Engine does not have",
        "Compute indices and shapes outside the model, or export with static shapes.",
        "F",
        measure="int32_results",
    ),
    Rule(
        "apple/ane-rank",
        _of("conv", "conv_transpose", "transpose"),
        "leaves",
        "3-D convolutions and transposes of five axes leave the Neural Engine",
        "Use four axes.",
        "F",
        measure="rank",
        above=4,
    ),
    Rule(
        "apple/ane-dimension",
        frozenset(),
        "leaves",
        "the Neural Engine takes at most 16384 elements along an axis, 65536 from A16 on",
        "Split the tensor.",
        "F",
        measure="dimension",
        above=16384,
        chips="before A16; all above 65536",
    ),
    Rule(
        "apple/ane-kernel",
        _of("conv", "conv_transpose"),
        "leaves",
        "kernels above 13 leave the Neural Engine, above 15 from A15 on",
        "Use SpaceToDepth and a smaller kernel.",
        "F",
        measure="kernel",
        above=13,
        chips="before A15; all above 15",
    ),
    Rule(
        "apple/ane-window",
        _of("avg_pool", "l2_pool", "max_pool"),
        "leaves",
        "pooling windows above 29 leave the Neural Engine",
        "Pool in two steps.",
        "F",
        measure="kernel",
        above=29,
    ),
    Rule(
        "apple/ane-dilation",
        _of("conv", "conv_transpose"),
        "may leave",
        "dilated convolutions fall back on older Neural Engines",
        "",
        "H",
        measure="dilation",
        above=1,
        chips="before A14",
    ),
    Rule(
        "apple/ane-computed-weight",
        _of("conv", "conv_transpose"),
        "may leave",
        "its weight is computed at run time",
        "Make the weight a constant.",
        "F",
        measure="computed_weight",
    ),
    Rule(
        "apple/ane-reflect",
        _of("pad"),
        "may leave",
        "padding with other than a constant needs A14 or later",
        "Pad with zeros.",
        "F",
        measure="mirrored_padding",
        chips="before A14",
    ),
    Rule(
        "apple/ane-block-weights",
        _of("constexpr_blockwise_shift_scale"),
        "costs",
        "scales per block suit the GPU; for the Neural Engine one scale per channel is recommended",
        "Use block_size = 0, or palettized weights.",
        "A",
        measure="scaled_axes",
        above=1,
    ),
    Rule(
        "apple/activation-per-channel",
        _of("quantize"),
        "leaves",
        "Core ML's int8 path wants one scale per activation tensor",
        "Quantize activations per tensor.",
        "A",
        measure="scale_rank",
    ),
    Rule(
        "apple/activation-asymmetric",
        _of("quantize"),
        "costs",
        "Apple's own quantizers give activations the zero point 0",
        "Quantize activations symmetrically.",
        "A",
        measure="zero_point",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ProgramRule:
    """A remark on a whole program; `measure` is a key of `measures.PROGRAM_MEASURES`, whose value
    takes the place of `{}` in the message."""

    rule: str
    severity: Severity
    message: str
    remedy: str
    source: str
    measure: str
    above: float = 0


PROGRAM_RULES = (
    ProgramRule(
        "apple/ane-fp32-package",
        "warning",
        "the package computes in fp32 throughout: the CPU or the GPU will run it",
        "Choose another precision than fp32, and leave compute = \"fp32\" out.",
        "A",
        "is_fp32",
    ),
    ProgramRule(
        "apple/ane-dynamic-shape",
        "warning",
        "{:g} inputs have sizes that are ranges, which often leave the Neural Engine",
        "Enumerate up to 128 shapes instead of ranges.",
        "A",
        "dynamic_inputs",
    ),
    ProgramRule(
        "apple/ane-size",
        "warning",
        "its weights take {:.2f} GB: above 1 GB the Neural Engine of an iPhone refuses a model",
        "Store smaller weights (w8, w4), or cut the model in two.",
        "A",
        "weight_gigabytes",
        1.0,
    ),
    ProgramRule(
        "apple/ane-int8-chips",
        "info",
        "int8 activations speed up A17 Pro, M4 and later; earlier chips run them no faster than"
        " fp16, and CPU and GPU slower",
        "",
        "A",
        "quantized_activations",
    ),
    ProgramRule(
        "apple/ane-padding",
        "info",
        "on the Neural Engine activations take {:.1f} times their size: their last axis is padded"
        " to 64 bytes",
        "Give the last axis a multiple of 32 elements (fp16).",
        "T",
        "padding_waste",
        1.5,
    ),
    ProgramRule(
        "apple/ane-layout",
        "info",
        "{:g} linear layers on (batch, sequence, channels): convolutions of size 1 on"
        " (batch, channels, 1, sequence) suit the Neural Engine better",
        "",
        "T",
        "sequence_linears",
        3,
    ),
)  # fmt: skip
