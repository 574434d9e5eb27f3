"""Which nodes are quantized, and a finding for each float node that is not.

A node is quantized when
1. its operator is in the scheme's list and it is not excluded by name,
2. it has float tensors and all that the integer form needs to be constant is constant, and
3. it does not only move data between float operators, where a round trip through integers would
   cost accuracy and gain nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgewise.calibration.masks import masked_tensors
from edgewise.calibration.operands import (
    BIASED_OPS,
    UNQUANTIZABLE_OPS,
    activations,
    inputs_of_role,
    is_float,
    output_channels,
)
from edgewise.calibration.scheme import Scheme
from edgewise.errors import UsageError
from edgewise.findings import Finding
from edgewise.graph import attribute, constant, node_label
from edgewise.graph.normalization import match_normalization

#: onnxruntime.quantization gives output 0 of these the parameters of input 0, whatever is asked
COPYING_OPS = frozenset(
    {
        "AveragePool", "Flatten", "Gather", "GatherElements", "MaxPool", "Pad", "Reshape",
        "Resize", "Slice", "Split", "Squeeze", "TopK", "Transpose", "Unsqueeze",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Placement:
    """Names of the nodes to quantize, and remarks on the float ones."""

    names: frozenset[str]
    findings: tuple[Finding, ...]
    #: those of the names that mark a requantization: Identity nodes that tie nothing together
    markers: frozenset[str] = frozenset()

    def __contains__(self, node: object) -> bool:
        return isinstance(node, ir.Node) and node.name in self.names


def place(
    model: ir.Model, scheme: Scheme, exclude: Collection[str], residual: Collection[str] = ()
) -> Placement:
    """Decide for every node of the main graph; all nodes must have unique names.

    Args:
        residual: names of nodes of a residual stream (`residual_stream`): left in float, untold.

    Raises:
        UsageError: `exclude` names a node that does not exist.
    """
    check_excluded(model, exclude)
    chosen: set[str] = set()
    findings: list[Finding] = []
    masked = masked_tensors(model)
    statistics = {part.name for part in _normalizing(model)}
    for node in model.graph:
        if not any(is_float(value) for value in (*node.inputs, *node.outputs)):
            continue
        if node.name in residual:
            continue
        reason = _obstacle(node, scheme, exclude)
        if reason is None and any(value.name in masked for value in activations(node)):
            reason = "a mask of minus infinity runs through it"
        if reason is None and node.name in statistics:
            reason = "it is part of a normalization, whose squares and means 8 bits do not hold"
        if reason is None:
            chosen.add(node.name or "")
        elif reason:
            findings.append(_left_float(node, reason, scheme))
    chosen -= _movers_between_floats(model.graph, chosen, scheme)
    return Placement(frozenset(chosen), tuple(findings))


def _normalizing(model: ir.Model) -> Iterable[ir.Node]:
    """The nodes that spell a normalization out."""
    for node in model.graph:
        if (match := match_normalization(node)) is not None:
            yield from match.nodes


def check_excluded(model: ir.Model, exclude: Collection[str]) -> None:
    """Raises UsageError for a name that no node has."""
    unknown = sorted(set(exclude) - {node.name for node in model.graph})
    if unknown:
        raise UsageError(f"the model has no node '{unknown[0]}' to exclude from quantization")


def _left_float(node: ir.Node, reason: str, scheme: Scheme) -> Finding:
    return Finding(
        rule="calibration/float-node",
        severity="warning",
        message=f"{node.op_type} stays in float: {reason}",
        node=node_label(node),
        remedy=f"Expect it to run in float on {scheme.target}; replace it where speed matters.",
    )


def _obstacle(node: ir.Node, scheme: Scheme, exclude: Collection[str]) -> str | None:
    """Why the node stays in float (empty: not worth telling); None when it is quantized."""
    if node.name in exclude:
        return "it was excluded"
    if node.domain not in ("", "ai.onnx") or node.op_type not in scheme.quantized_ops:
        if all(constant(value) is not None for value in node.inputs if value is not None):
            return ""  # it makes a constant
        return f"{scheme.target} {scheme.precision} has no integer form for it"
    if node.op_type in UNQUANTIZABLE_OPS:
        return "it has no integer form in QDQ"
    if not activations(node):
        return ""
    return _unsuitable_operand(node)


def _unsuitable_operand(node: ir.Node) -> str | None:
    for value in activations(node):
        array = constant(value)
        if array is not None and not np.isfinite(array).all():
            return f"its constant '{value.name}' is not finite"
    if attribute(node, "reduction", "none") != "none":  # of Scatter and kin
        return "it computes with what it writes, which may leave the range of its input"
    if node.op_type not in BIASED_OPS:
        return None
    if not (weights := inputs_of_role(node, "weight")) or constant(weights[0]) is None:
        return "its weights are not constant"
    for bias in inputs_of_role(node, "bias"):
        array = constant(bias)
        if array is None:
            return "its bias is not constant"
        if array.size not in (1, output_channels(node)) or (
            array.size > 1 and array.shape[-1] != array.size
        ):
            return "its bias is not one value per output channel"
    if attribute(node, "alpha", 1.0) == 0.0:
        return "its alpha is zero"
    return None


def moves_data(node: ir.Node, scheme: Scheme) -> bool:
    """Whether one scale and zero point runs through the node."""
    return node.op_type in scheme.shared_scale_ops or node.op_type in COPYING_OPS


def _movers_between_floats(
    graph: Iterable[ir.Node], chosen: Collection[str], scheme: Scheme
) -> set[str]:
    """The data movers that touch a float node and, through other movers, no quantized operator."""
    movers = {n.name: n for n in graph if n.name in chosen and moves_data(n, scheme)}
    dropped: set[str] = set()
    seen: set[str | None] = set()
    for name, node in movers.items():
        if name in seen:
            continue
        component, border = _component(node, movers)
        seen |= component
        float_border = [n for n in border if n.name not in chosen]
        if float_border and len(float_border) == len(border):
            dropped |= {n for n in component if n}
    return dropped


def _component(
    start: ir.Node, movers: dict[str | None, ir.Node]
) -> tuple[set[str | None], list[ir.Node]]:
    """The movers connected to `start` through float tensors, and the other nodes they touch."""
    component: set[str | None] = {start.name}
    border: list[ir.Node] = []
    queue = [start]
    while queue:
        node = queue.pop()
        for neighbour in _float_neighbours(node):
            if neighbour.name not in movers:
                border.append(neighbour)
            elif neighbour.name not in component:
                component.add(neighbour.name)
                queue.append(neighbour)
    return component, border


def _float_neighbours(node: ir.Node) -> list[ir.Node]:
    found = []
    for value in activations(node):
        if (producer := value.producer()) is not None:
            found.append(producer)
        found += [use.node for use in value.uses()]
    return [other for other in dict.fromkeys(found) if other is not node]
