"""Which operators stay in float on ARM64, asked of ONNX Runtime's own graph optimizer.

On ARM64 the optimizer accepts signed activations; on x86 it does so only with the session entry
`session.qdqisint8allowed`. With that entry set, this machine gives ARM's answer, whatever it is.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

import onnx_ir as ir
import onnxruntime as ort

from edgewise.findings import Finding
from edgewise.graph import load, node_label, to_bytes
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.targets.arm.refusals import refusal_of
from edgewise.targets.arm.schemes import KERNEL_OPS, SHARED_SCALE_OPS


def optimize_as_on_arm(model: ir.Model) -> ir.Model:
    """The graph that ONNX Runtime executes on ARM64, before layout changes.

    Raises UnsupportedOperator or ModelError when ONNX Runtime cannot load the model.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    with tempfile.TemporaryDirectory(prefix="edgewise-arm-") as folder:
        optimized = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(optimized)
        try:
            ort.InferenceSession(to_bytes(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exception types have no common base
            raise refusal_of(model, error) from error
        return load(optimized)


def float_islands(model: ir.Model, optimized: ir.Model | None = None) -> list[list[ir.Node]]:
    """Groups of connected nodes of `model` that ARM64 computes in float between integers.

    A group lies between a DequantizeLinear of an activation and a QuantizeLinear. Float nodes at
    the very beginning or end of the graph are no island: the model's own borders are float.
    `optimized` is what ONNX Runtime made of the model on a device; without, it is asked here.
    """
    optimized = optimize_as_on_arm(model) if optimized is None else optimized
    known = _Nodes(model)
    return [known.computing(region) for region in _regions(optimized)]


class _Nodes:
    """The nodes of a model, to be found again in what the optimizer made of it: it renames some
    outputs, and invents nodes for decomposed functions."""

    def __init__(self, model: ir.Model) -> None:
        self._by_output = {out.name: node for node in model.graph for out in node.outputs}
        self._by_name = {node.name: node for node in model.graph if node.name}

    def computing(self, region: list[ir.Node]) -> list[ir.Node]:
        """Those of the model in the region's place; where it has none, the region itself."""
        found = [self._origin(node) for node in region]
        if not any(found):
            readers = [use.node for node in region for v in node.outputs for use in v.uses()]
            found = [self._quantized_by(reader) for reader in readers]
        return list(dict.fromkeys(node for node in found if node is not None)) or region

    def _origin(self, node: ir.Node) -> ir.Node | None:
        return self._by_output.get(node.outputs[0].name or "") or self._by_name.get(node.name or "")

    def _quantized_by(self, reader: ir.Node) -> ir.Node | None:
        """The node whose output the model's own QuantizeLinear reads."""
        known = self._origin(reader) if reader.op_type == QUANTIZE else None
        source = known.inputs[0] if known is not None and known.op_type == QUANTIZE else None
        return None if source is None else source.producer()


def island_findings(model: ir.Model, optimized: ir.Model | None = None) -> list[Finding]:
    """One `arm/float-island` warning per island. Raises ModelError when the model cannot load."""
    return [
        Finding(
            "arm/float-island",
            "warning",
            f"{', '.join(node.op_type for node in nodes)} will run in float between integers: "
            f"{_why(nodes)}",
            node=", ".join(node_label(node) for node in nodes),
            remedy="Expect two conversions here; replace the operator if the latency matters.",
        )
        for nodes in float_islands(model, optimized)
    ]


def _why(nodes: list[ir.Node]) -> str:
    lacking = sorted({n.op_type for n in nodes} - KERNEL_OPS - SHARED_SCALE_OPS)
    if lacking:
        return f"ONNX Runtime has no int8 kernel for {', '.join(lacking)}"
    if any(node.op_type in SHARED_SCALE_OPS for node in nodes):
        return "its attributes have no int8 kernel, or its input and output scales differ"
    return "an input or output is not quantized to int8, so that no int8 kernel takes it"


def _regions(model: ir.Model) -> list[list[ir.Node]]:
    """Connected float nodes that are reached from a DequantizeLinear and reach a QuantizeLinear."""
    after: set[ir.Node] = set()
    for node in model.graph:
        if _is_float(node) and any(
            source is not None
            and (source in after or (source.op_type == DEQUANTIZE and not _of_constant(source)))
            for source in (v.producer() for v in node.inputs if v is not None)
        ):
            after.add(node)
    before: set[ir.Node] = set()
    for node in reversed(model.graph):
        if _is_float(node) and any(
            user in before or user.op_type == QUANTIZE
            for out in node.outputs
            for user in (use.node for use in out.uses())
        ):
            before.add(node)
    return _connected([node for node in model.graph if node in after and node in before])


def _is_float(node: ir.Node) -> bool:
    """Whether the node may pass float values on. The optimizer stores no dtypes, so that a node
    after a DequantizeLinear counts as float unless it is known to give integers."""
    return node.op_type not in (QUANTIZE, DEQUANTIZE, "Shape", "Size", "ArgMax", "ArgMin")


def _of_constant(dequantize: ir.Node) -> bool:
    """The constants of a graph that a device sent may have stayed there."""
    stored = dequantize.inputs[0]
    return stored is not None and stored.const_value is not None


def _connected(nodes: list[ir.Node]) -> list[list[ir.Node]]:
    """Groups of nodes linked by a value, in graph order."""
    group = {node: index for index, node in enumerate(nodes)}
    for node in nodes:
        for value in node.inputs:
            source = None if value is None else value.producer()
            if source in group and group[source] != group[node]:
                old, new = group[node], group[source]
                group = {n: new if g == old else g for n, g in group.items()}
    members: dict[int, list[ir.Node]] = defaultdict(list)
    for node in nodes:
        members[group[node]].append(node)
    return list(members.values())
