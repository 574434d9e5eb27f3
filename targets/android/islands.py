"""Float islands of a quantized file: what computes in float32 between integers, and its cost.

An island is a connected part of the graph: the operators that read or write float32, joined by the
float32 tensors between them. QUANTIZE and DEQUANTIZE are its shores. So neighbouring ONNX nodes
without an integer kernel are one island, and a LayerNormalization alone is one, too. A function of
one element between integers is none where it runs as a table of 256 integers (see tables.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgewise.findings import Finding
from edgewise.targets.android.model import Graph, Operator, Tensor
from edgewise.targets.android.tables import is_table

_SHORES = ("DEQUANTIZE", "QUANTIZE")
_FLOAT32 = np.dtype(np.float32)
#: how many reasons a finding tells; those that are no consequence of another node come first
_TOLD_REASONS = 2

#: label of an ONNX node -> its operator, and why it computes in float
Reasons = Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True, eq=False)
class Island:
    """`operators` compute; `elements` are those of their results, `products` their multiplications
    in convolutions and matrix products."""

    operators: tuple[Operator, ...]
    dequantized: int
    quantized: int
    elements: int
    products: int

    @property
    def nodes(self) -> tuple[str, ...]:
        """Labels of the ONNX nodes, in order of execution."""
        return tuple(dict.fromkeys(operator.origin for operator in self.operators))


def find_islands(graph: Graph) -> list[Island]:
    """The islands of a graph in order of execution; none where nothing is quantized."""
    if not any(operator.stored_dtype is not None for operator in graph.operators):
        return []
    touching = [operator for operator in graph.operators if _float_tensors(operator)]
    regions: dict[Tensor, list[Operator]] = {}
    for operator in touching:
        joined: dict[Operator, None] = {}
        for tensor in _float_tensors(operator):
            joined.update(dict.fromkeys(regions.get(tensor, [])))
        region = [*joined, operator]
        for tensor in {t for member in region for t in _float_tensors(member)}:
            regions[tensor] = region
    position = {operator: index for index, operator in enumerate(touching)}
    unique = {id(region): region for region in regions.values()}.values()
    ordered = [sorted(region, key=position.__getitem__) for region in unique]
    ordered.sort(key=lambda region: position[region[0]])
    return [
        _island(region)
        for region in ordered
        if any(operator.kind not in _SHORES for operator in region) and not is_table(region)
    ]


def _float_tensors(operator: Operator) -> list[Tensor]:
    tensors = (*operator.inputs, *operator.outputs)
    return [tensor for tensor in tensors if tensor.data is None and tensor.dtype == _FLOAT32]


def _island(region: Sequence[Operator]) -> Island:
    inside = tuple(operator for operator in region if operator.kind not in _SHORES)
    return Island(
        operators=inside,
        dequantized=sum(operator.kind == "DEQUANTIZE" for operator in region),
        quantized=sum(operator.kind == "QUANTIZE" for operator in region),
        elements=sum(_size(tensor) for operator in inside for tensor in operator.outputs),
        products=sum(map(products, inside)),
    )


def _size(tensor: Tensor) -> int:
    return int(np.prod(tensor.shape, dtype=np.int64))


def products(operator: Operator) -> int:
    """Multiplications of a convolution or matrix product; 0 for any other operator."""
    out = _size(operator.outputs[0]) if operator.outputs else 0
    if operator.kind in ("CONV_2D", "CONV_3D", "FULLY_CONNECTED"):
        weights = operator.inputs[1].shape
        channels = weights[-1] if operator.kind == "CONV_3D" else weights[0]
        return out * (_size(operator.inputs[1]) // max(channels, 1))
    if operator.kind == "DEPTHWISE_CONV_2D":
        return out * int(np.prod(operator.inputs[1].shape[1:3]))
    if operator.kind == "TRANSPOSE_CONV":
        weights = operator.inputs[1].shape
        return _size(operator.inputs[2]) * (_size(operator.inputs[1]) // max(weights[-1], 1))
    if operator.kind == "BATCH_MATMUL":
        axis = -2 if operator.options.get("adjX") else -1
        return out * operator.inputs[0].shape[axis]
    return 0


def island_findings(graph: Graph, reasons: Reasons) -> list[Finding]:
    """One warning per island, with its reason and its cost; none for the nodes of a float model."""
    if not reasons:
        return []
    total = sum(map(products, graph.operators))
    return [_finding(island, reasons, total) for island in find_islands(graph)]


def _finding(island: Island, reasons: Reasons, total_products: int) -> Finding:
    nodes = island.nodes
    span = f", up to '{nodes[-1]}'" if len(nodes) > 1 else ""
    count = "runs" if len(nodes) == 1 else f"and {len(nodes) - 1} more run"
    first = reasons.get(nodes[0], (island.operators[0].kind, ""))[0]
    return Finding(
        "android/float-island",
        "warning",
        f"{first} {count} in float32{span}: {_why(island, reasons)} "
        f"({_cost(island, total_products)})",
        nodes[0],
        "It costs speed, not accuracy; replace or quantize the operators to avoid it.",
    )


def _why(island: Island, reasons: Reasons) -> str:
    found: dict[str, dict[str, None]] = {}
    for node in island.nodes:
        if node in reasons:
            kind, reason = reasons[node]
            found.setdefault(reason, {})[kind] = None
    if not found:
        return "the model does not quantize what it reads and writes"
    ordered = sorted(found, key=_is_consequence)[:_TOLD_REASONS]
    if len(found) == 1 and len(found[ordered[0]]) == 1:
        return ordered[0]
    return "; ".join(f"{', '.join(found[reason])}: {reason}" for reason in ordered)


def _is_consequence(reason: str) -> bool:
    """Whether it only says that a neighbour is in float."""
    return reason.endswith(("is not quantized", "no quantized input"))


def _cost(island: Island, total_products: int) -> str:
    parts = [
        _count(len(island.operators), "operator"),
        f"{island.dequantized} DEQUANTIZE",
        f"{island.quantized} QUANTIZE",
        f"{island.elements:,} elements",
    ]
    if island.products and total_products:
        parts.append(f"{island.products / total_products:.1%} of all multiply-adds")
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
