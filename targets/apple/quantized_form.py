"""Which layers are in the form that Core ML's integer path recognizes, and why others are not.

The form, as Apple's own quantizers emit it:
`quantize -> dequantize -> op(int8 constant weight) [-> activation] -> quantize`
with one scale per tensor for activations (coremltools guide, "Quantization Overview").
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from edgewise.findings import Finding
from edgewise.graph import consumers, node_label, quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE

#: operators with a weight as input 1
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
#: what may stand between a layer and its quantize
ACTIVATIONS = frozenset(
    {
        "Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu",
        "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh", "ThresholdedRelu",
    }
)  # fmt: skip
_WEIGHT_PATH = ("Transpose", "Reshape", "Squeeze", "Unsqueeze")
_REMEDY = "Include the layer and its neighbours in quantization, with one scale per tensor."


@dataclass(frozen=True, slots=True)
class LayerForm:
    """One layer; `reasons` is empty when it is in the form."""

    node: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QuantizedForm:
    """All layers with a constant weight, in graph order."""

    layers: tuple[LayerForm, ...]

    @property
    def total(self) -> int:
        return len(self.layers)

    @property
    def in_form(self) -> int:
        return sum(not layer.reasons for layer in self.layers)

    def findings(self) -> list[Finding]:
        """A summary, then one remark for each layer that is not in the form."""
        if not self.layers:
            return []
        summary = Finding(
            rule="apple/quantized-form",
            severity="info",
            message=f"{self.in_form} of {self.total} layers are in the form of Core ML's int8 path",
        )
        outside = [
            Finding(
                rule="apple/layer-not-in-quantized-form",
                severity="warning",
                message=f"computed in floating point: {'; '.join(layer.reasons)}",
                node=layer.node,
                remedy=_REMEDY,
            )
            for layer in self.layers
            if layer.reasons
        ]
        return [summary, *outside]


def examine(model: ir.Model) -> QuantizedForm:
    """Look at every layer of a legalized QDQ model."""
    return QuantizedForm(
        tuple(
            LayerForm(node_label(node), tuple(_reasons(node)))
            for node in model.graph
            if node.op_type in LAYERS
        )
    )


def _reasons(node: ir.Node) -> list[str]:
    found = [_input_reason(node), _weight_reason(node), _output_reason(node)]
    return [reason for reason in found if reason]


def _input_reason(node: ir.Node) -> str:
    producer = _producer(node.inputs[0])
    if producer is None or producer.op_type != DEQUANTIZE:
        return "its input is not dequantized"
    return "" if quantization_of(producer).per_tensor else "its input has a scale per channel"


def _weight_reason(node: ir.Node) -> str:
    value = node.inputs[1]
    producer = _producer(value)
    while producer is not None and producer.op_type in _WEIGHT_PATH:
        producer = _producer(producer.inputs[0])
    if producer is not None and producer.op_type == DEQUANTIZE:
        stored = producer.inputs[0]
        if stored is not None and stored.const_value is not None:
            return ""
        quantizer = _producer(stored)
        source = None if quantizer is None else quantizer.inputs[0]
        if source is not None and source.const_value is not None:
            return ""
        return "its weight is computed at run time"
    constant = value is not None and value.const_value is not None
    return "its weight is not quantized" if constant else "its weight is computed at run time"


def _output_reason(node: ir.Node) -> str:
    output = node.outputs[0]
    after = consumers(output)
    if len(after) == 1 and after[0].op_type in ACTIVATIONS and not output.is_graph_output():
        output = after[0].outputs[0]
        after = consumers(output)
    if output.is_graph_output():
        return "its output leaves the model unquantized"
    others = sorted({user.op_type for user in after if user.op_type != QUANTIZE})
    if others:
        return f"its output is not quantized before {', '.join(others)}"
    inner = _activation_after_pair(after)
    return f"its output is quantized before {inner} and again behind it" if inner else ""


def _activation_after_pair(quantizers: list[ir.Node]) -> str:
    """The activation that alone reads the dequantized output, if there is one."""
    if len(quantizers) != 1:
        return ""
    dequantizers = consumers(quantizers[0].outputs[0])
    if len(dequantizers) != 1:
        return ""
    users = consumers(dequantizers[0].outputs[0])
    single = users[0].op_type if len(users) == 1 else ""
    return single if single in ACTIVATIONS else ""


def _producer(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()
