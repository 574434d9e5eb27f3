"""What ONNX Runtime on a device with ARM64 code makes of an artifact: proof of what it fuses.

The device loads the artifact and gives back the graph that it executes, where
1. every quantized operator (one between DequantizeLinear and QuantizeLinear) must be an operator on
   integers: what is left in float is a finding, as `fusion` foretells it on this machine;
2. Transpose nodes that the artifact does not have stand where the layout changes.
A file in ORT format holds the finished graph, which no runtime gives back.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import onnx_ir as ir

from edgewise.findings import Finding
from edgewise.graph import is_quantized_model, load
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.targets.arm.fusion import float_islands, island_findings
from edgewise.targets.arm.opened_file import executed_graph, opened_file
from edgewise.targets.arm.session_options import ORT_SUFFIX
from edgewise.targets.base import Artifact

_NAMED = 4


@dataclass(frozen=True, slots=True)
class Fusion:
    """Quantized operators of an artifact by kind, those of them that run in integers, and the
    Transpose nodes that were added."""

    quantized: Counter[str]
    integer: Counter[str]
    transposes: int

    def __str__(self) -> str:
        kinds = [
            f"{self.integer[kind]} of {count} {kind}"
            for kind, count in self.quantized.most_common(_NAMED)
        ]
        others = len(self.quantized) - len(kinds)
        if others > 0:
            rest = Counter(
                {k: n for k, n in self.quantized.items() if k not in self._largest}
            ).total()
            done = sum(n for k, n in self.integer.items() if k not in self._largest)
            kinds.append(f"{done} of {rest} others")
        return ", ".join(kinds)

    @property
    def _largest(self) -> set[str]:
        return {kind for kind, _ in self.quantized.most_common(_NAMED)}


def fusion_of(model: ir.Model, executed: ir.Model) -> Fusion:
    """How much of a QDQ model runs in integers, where `executed` was made of it."""
    quantized = [node for node in model.graph if is_quantized_operator(node)]
    floats = {node for nodes in float_islands(model, executed) for node in nodes}
    return Fusion(
        Counter(node.op_type for node in quantized),
        Counter(node.op_type for node in quantized if node not in floats),
        max(0, _transposes(executed) - _transposes(model)),
    )


def is_quantized_operator(node: ir.Node) -> bool:
    """Whether it reads what DequantizeLinear gives, and nothing but QuantizeLinear reads it."""
    if node.op_type in (QUANTIZE, DEQUANTIZE):
        return False
    producers = [value.producer() for value in node.inputs if value is not None]
    readers = [use.node for value in node.outputs for use in value.uses()]
    return (
        any(made is not None and made.op_type == DEQUANTIZE for made in producers)
        and bool(readers)
        and all(reader.op_type == QUANTIZE for reader in readers)
        and not any(value.is_graph_output() for value in node.outputs)
    )


def device_findings(artifact: Artifact, device: str) -> tuple[Finding, ...]:
    """What the device says of the artifact: one remark that counts, and one per float island.

    Raises DeviceError, or ModelError where ONNX Runtime refuses the file there.
    """
    if artifact.path.suffix == ORT_SUFFIX:
        return ()
    model = load(artifact.path)
    if not is_quantized_model(model):
        return ()
    with opened_file(artifact, device) as file:
        executed = executed_graph(file, device)
    found = fusion_of(model, executed)
    if not found.quantized:
        return ()
    counted = Finding(
        "arm/fused-on-device",
        "info",
        f"ONNX Runtime on {device} runs in integers: {found}; {found.transposes} changes of layout "
        "were added",
    )
    return (counted, *island_findings(model, executed))


def _transposes(model: ir.Model) -> int:
    return sum(node.op_type == "Transpose" for node in model.graph)
