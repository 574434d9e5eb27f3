"""Which layers of a program are in the form that Core ML's integer path recognizes, and why others
are not.

The form, as Apple's own quantizers emit it:
`quantize -> dequantize -> op(int8 constant weight) [-> activation] -> quantize`
with one scale per tensor for activations (coremltools guide, "Quantization Overview").
A layer is an operation with a constant weight; those with a weight in floating point are counted
apart. An activation may take several operations where MIL has none for the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgewise.findings import Finding
from edgewise.targets.apple.program_view import Operation, ProgramView
from edgewise.targets.apple.verify_program import WEIGHTS, stored_weight

#: ONNX operators that may stand between a layer and its quantize
ACTIVATIONS = frozenset(
    {
        "Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu",
        "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh", "ThresholdedRelu",
    }
)  # fmt: skip
_LEAVES = "its output leaves the model unquantized"
_REMEDY = "Include the layer and its neighbours in quantization, with one scale per tensor."


@dataclass(frozen=True, slots=True)
class LayerForm:
    """One layer; `reasons` is empty when it is in the form."""

    node: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QuantizedForm:
    """The layers with integer weights, in order, and the nodes of those with weights in floating
    point."""

    layers: tuple[LayerForm, ...]
    in_float: tuple[str, ...] = ()

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
        text = f"{self.in_form} of {self.total} quantized layers are in the form of Core ML's int8"
        text += f" path; {len(self.in_float)} have float weights" if self.in_float else " path"
        summary = Finding(rule="apple/quantized-form", severity="info", message=text)
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

    def describe(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "layers": self.total,
            "in_form": self.in_form,
            "outside": {x.node: list(x.reasons) for x in self.layers if x.reasons},
            "float_layers": list(self.in_float),
        }


def examine(program: ProgramView, operators: Mapping[str, str]) -> QuantizedForm:
    """Look at every layer of a program.

    Args:
        operators: node of the model that an operation was written for -> its ONNX operator.
    """
    layers, in_float = [], []
    for operation in program.operations:
        if operation.kind not in WEIGHTS:
            continue
        if stored_weight(program, operation) is not None:
            reasons = (_input_reason(program, operation), _Output(program, operators, operation)())
            layers.append(LayerForm(operation.origin, tuple(text for text in reasons if text)))
        elif any(
            program.constant(operation, parameter) is not None
            for parameter in WEIGHTS[operation.kind]
        ):
            in_float.append(operation.origin)
    return QuantizedForm(tuple(layers), tuple(in_float))


def _input_reason(program: ProgramView, operation: Operation) -> str:
    data = [
        source
        for parameter in ("x", "y")
        if (name := operation.input(parameter)) is not None
        and name not in program.constants
        and not ((source := program.producers.get(name)) and source.kind.startswith("constexpr_"))
    ]
    source = data[0] if data else None
    if source is None or source.kind != "dequantize":
        return "its input is not dequantized"
    if source.input("axis") is not None and program.constant(source, "scale").ndim:
        return "its input has a scale per channel"
    return ""


class _Output:
    """Why a layer's output is not quantized as it should be; empty when it is."""

    def __init__(
        self, program: ProgramView, operators: Mapping[str, str], layer: Operation
    ) -> None:
        self._program = program
        self._operators = operators
        self._layer = layer

    def __call__(self) -> str:
        name = self._layer.outputs[0]
        readers = self._readers(name)
        own = [reader for reader in readers if reader.origin == self._layer.origin]
        if own:
            return f"a part of it is computed apart, by {_kinds(own)}"
        if self._leaves(name):
            return _LEAVES
        origins = {reader.origin for reader in readers if reader.kind != "quantize"}
        if not origins:
            return self._behind_pair(readers)
        node = min(origins)
        if len(origins) > 1 or self._operators.get(node) not in ACTIVATIONS:
            return f"its output is not quantized before {self._told(origins)}"
        return self._activation_reason(node)

    def _activation_reason(self, node: str) -> str:
        """The operations of the activation read nothing but the layer and constants, and all that
        others read of them is quantized."""
        part = {self._layer.outputs[0]}
        operations = [op for op in self._program.operations if op.origin == node]
        for operation in operations:
            computed = {
                name
                for group in operation.inputs.values()
                for name in group
                if name not in self._program.constants
            }
            if not computed <= part:
                return f"its output is not quantized before {self._told([node])}"
            part.update(operation.outputs)
        after = [reader for name in part for reader in self._readers(name) if reader.origin != node]
        if any(self._leaves(name) for name in part):
            return _LEAVES
        others = {reader.origin for reader in after if reader.kind != "quantize"}
        return f"its output is not quantized before {self._told(others)}" if others else ""

    def _behind_pair(self, quantizers: list[Operation]) -> str:
        """The activation that alone reads the dequantized output, if there is one."""
        if len(quantizers) != 1:
            return ""
        dequantizers = self._readers(quantizers[0].outputs[0])
        if len(dequantizers) != 1 or dequantizers[0].kind != "dequantize":
            return ""
        nodes = {reader.origin for reader in self._readers(dequantizers[0].outputs[0])}
        if len(nodes) != 1 or self._operators.get(min(nodes)) not in ACTIVATIONS:
            return ""
        return f"its output is quantized before {self._told(nodes)} and again behind it"

    def _leaves(self, name: str) -> bool:
        """Whether an output of the program is the value, perhaps named or typed anew."""
        return name in self._program.outputs or any(
            self._leaves(reader.outputs[0])
            for reader in self._readers(name)
            if reader.kind in ("identity", "cast")
        )

    def _readers(self, name: str) -> list[Operation]:
        return self._program.readers.get(name, [])

    def _told(self, nodes: Iterable[str]) -> str:
        return ", ".join(sorted({self._operators.get(node, node) for node in nodes}))


def _kinds(operations: Iterable[Operation]) -> str:
    return ", ".join(dict.fromkeys(operation.kind for operation in operations))
