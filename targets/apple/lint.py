"""What may keep a model off the Apple Neural Engine (ANE).

The rules are data, because nobody outside Apple knows the truth; each says where it was read:
    A   Apple's coremltools guide (typed execution, quantization performance, faqs)
    T   Apple's "Deploying Transformers on the Apple Neural Engine"
    F   measurements published by the ANEForge project (op catalogue, M1 to M5)
    H   the neural-engine notes of M. Hollemans, partly conjecture
    W   compute plans published with WhisperKit
They are advice: on a device, `MLComputePlan` tells where each operation really runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgewise.findings import Finding, Severity
from edgewise.graph import attribute, node_label, quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE


@dataclass(frozen=True, slots=True)
class OperatorRule:
    """A remark on every node of some operators."""

    rule: str
    operators: frozenset[str]
    severity: Severity
    message: str
    remedy: str
    source: str


@dataclass(frozen=True, slots=True)
class SizeRule:
    """A remark on nodes where a size is above `limit`; `what` says which size is looked at.

    `operators` is empty for all of them.
    """

    rule: str
    what: str  # "rank", "dimension" or "kernel"
    limit: int
    operators: frozenset[str]
    severity: Severity
    message: str
    remedy: str
    source: str


OPERATOR_RULES = (
    OperatorRule(
        "apple/ane-no-path",
        frozenset(
            {
                "Acos", "And", "Asin", "Atanh", "Cosh", "Mod", "Or", "ReduceProd", "Sinh", "Tan",
                "Xor",
            }
        ),
        "warning",
        "the Neural Engine has no path for this operator; the graph is split around it",
        "Express it with multiplications, additions or comparisons, or move it out of the model.",
        "F,H",
    ),
    OperatorRule(
        "apple/ane-gather",
        frozenset({"Gather"}),
        "warning",
        "gathers run on the CPU in practice",
        "Use Slice where the indices are consecutive, or look embeddings up outside the model.",
        "H,W",
    ),
    OperatorRule(
        "apple/ane-a14",
        frozenset({"Resize", "TopK"}),
        "info",
        "the Neural Engine takes this operator from A14 on",
        "",
        "F",
    ),
    OperatorRule(
        "apple/ane-a15",
        frozenset({"ArgMin", "Cos", "Sin"}),
        "info",
        "the Neural Engine takes this operator from A15 on",
        "",
        "F",
    ),
)  # fmt: skip

SIZE_RULES = (
    SizeRule(
        "apple/ane-rank-5", "rank", 4, frozenset({"Conv", "ConvTranspose", "Transpose"}), "warning",
        "3-D convolutions and transposes of five axes usually leave the Neural Engine",
        "Use four axes.", "F",
    ),
    SizeRule(
        "apple/ane-dimension", "dimension", 16384, frozenset(), "warning",
        "the Neural Engine takes at most 16384 elements along an axis (65536 from A16 on)",
        "Split the tensor.", "F",
    ),
    SizeRule(
        "apple/ane-kernel", "kernel", 13, frozenset({"Conv", "ConvTranspose"}), "warning",
        "kernels above 13 leave the Neural Engine (above 15 from A15 on)",
        "Use SpaceToDepth and a smaller kernel.", "F",
    ),
    SizeRule(
        "apple/ane-window", "kernel", 29, frozenset({"AveragePool", "MaxPool"}), "warning",
        "pooling windows above 29 leave the Neural Engine", "Pool in two steps.", "F",
    ),
)  # fmt: skip

#: largest relative error of rounding to fp16 where the value is in fp16's normal range
_FP16_ROUNDING = 2.0**-11


def lint(model: ir.Model) -> list[Finding]:
    """Remarks on a prepared float or QDQ model, in graph order."""
    found: list[Finding] = []
    for node in model.graph:
        found += _operator_findings(node)
        found += _size_findings(node)
        if node.op_type in (QUANTIZE, DEQUANTIZE):
            found += _quantization_findings(node)
    return found


def _operator_findings(node: ir.Node) -> Iterator[Finding]:
    for rule in OPERATOR_RULES:
        if node.op_type in rule.operators:
            yield _finding(rule, node, rule.message)


def _size_findings(node: ir.Node) -> Iterator[Finding]:
    for rule in SIZE_RULES:
        if rule.operators and node.op_type not in rule.operators:
            continue
        size = _size(node, rule.what)
        if size > rule.limit:
            yield _finding(rule, node, f"{rule.message}; here it is {size}")


def _size(node: ir.Node, what: str) -> int:
    if what == "kernel":
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        known = None if weight is None or weight.shape is None else list(weight.shape)[2:]
        kernel = attribute(node, "kernel_shape") or known or [0]
        return max((size for size in kernel if isinstance(size, int)), default=0)
    shape = node.outputs[0].shape
    if shape is None:
        return 0
    if what == "rank":
        return len(shape)
    return max((size for size in shape if isinstance(size, int)), default=0)


def _quantization_findings(node: ir.Node) -> Iterator[Finding]:
    quantization = quantization_of(node)
    stored = node.inputs[0]
    constant = stored is not None and stored.const_value is not None
    if (
        constant
        and stored is not None
        and stored.dtype not in (ir.DataType.INT8, ir.DataType.UINT8)
    ):
        return  # biases become floats
    narrowed = quantization.scale.astype(np.float16).astype(np.float32)
    error = float(np.max(np.abs(narrowed - quantization.scale) / quantization.scale))
    if error > 2 * _FP16_ROUNDING:
        yield Finding(
            "apple/fp16-scale",
            "warning",
            f"a scale of {float(quantization.scale.min()):.3g} loses {error:.1%} in fp16",
            node=node_label(node),
            remedy='Emit with compute = "fp32", or rescale the layer.',
        )
    if constant or node.op_type == DEQUANTIZE:
        return
    if not quantization.per_tensor:
        yield Finding(
            "apple/activation-per-channel",
            "warning",
            "Core ML's int8 path wants one scale per activation tensor [A]",
            node=node_label(node),
            remedy="Quantize activations per tensor.",
        )
    elif quantization.zero_point.any():
        yield Finding(
            "apple/activation-asymmetric",
            "info",
            "Apple's own quantizers give activations the zero point 0 [A]",
            node=node_label(node),
            remedy="Quantize activations symmetrically.",
        )


def _finding(rule: OperatorRule | SizeRule, node: ir.Node, message: str) -> Finding:
    return Finding(
        rule.rule,
        rule.severity,
        f"{message} [{rule.source}]",
        node=node_label(node),
        remedy=rule.remedy,
    )
