"""The graph that ONNX Runtime executes, in the names of the artifact it was made of.

Its optimizer keeps the names of nodes, but for a counter that it may add, and gives new names to
what replaced nodes write. So a tensor is known, in this order,
1. by its own name, which the artifact has, too: a float tensor, or integers of it;
2. by the node that writes it, if the artifact has that node;
3. by a convolution in blocks of channels, which x86 has: it is named after the tensor it writes.
All names are those of float tensors: integers count as the tensor that was quantized to them, and
an output that is dequantized as the output.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import onnx_ir as ir

from edgewise.calibration.union_find import UnionFind
from edgewise.graph import load
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.targets.base import Artifact

_COUNTER = re.compile(r"_token_\d+$")
_BLOCKED = "_nchwc"


@dataclass(frozen=True, slots=True)
class ExecutedNode:
    """A node of the executed graph; tensors by the artifact's names where it has them."""

    name: str
    kind: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExecutedPart:
    """Connected nodes between cuts."""

    nodes: tuple[ExecutedNode, ...]
    #: the cuts that it writes
    tensors: frozenset[str]


@dataclass(frozen=True, slots=True)
class Executed:
    """All nodes, in the order of the graph."""

    nodes: tuple[ExecutedNode, ...]
    #: the tensors that the artifact names
    named: frozenset[str]

    @classmethod
    def of(cls, artifact: Artifact, executed: ir.Model) -> Executed:
        names = _Names(load(artifact.path))
        nodes = tuple(
            ExecutedNode(
                node.name or "",
                node.op_type,
                tuple(
                    names.of(v, v.producer())
                    for v in node.inputs
                    if v is not None and _is_computed(v)
                ),
                tuple(names.of(v, node) for v in node.outputs),
            )
            for node in executed.graph
        )
        written = {name for node in nodes for name in node.writes}
        return cls(nodes, frozenset(written & names.known))

    @property
    def kinds(self) -> str:
        """How many nodes of which kind, the most frequent ones first."""
        counted = Counter(node.kind for node in self.nodes).most_common()
        return ", ".join(f"{count} {kind}" for kind, count in counted)

    def parts(self, cuts: Collection[str]) -> list[ExecutedPart]:
        """What lies between tensors of those names, in the order of their last nodes. What gives a
        tensor another form writes it again, and belongs to the part that computes it."""
        joined = UnionFind()
        writers: dict[str, int] = {}
        for index, node in enumerate(self.nodes):
            inner = [name for name in (*node.reads, *node.writes) if name not in cuts]
            joined.unite([_node(index), *inner])
            for name in node.writes:
                joined.unite([_node(index), _node(writers.setdefault(name, index))])
        groups: dict[str, list[int]] = {}
        for index in range(len(self.nodes)):
            groups.setdefault(joined.find(_node(index)), []).append(index)
        return [
            ExecutedPart(
                tuple(self.nodes[index] for index in group),
                frozenset(
                    name for index in group for name in self.nodes[index].writes if name in cuts
                ),
            )
            for group in sorted(groups.values(), key=max)
        ]


class _Names:
    """The float names of an artifact's tensors."""

    def __init__(self, model: ir.Model) -> None:
        self._float: dict[str, str] = {}
        for node in model.graph:
            source = node.inputs[0] if node.inputs else None
            if node.op_type == QUANTIZE and _is_computed(source):
                self._alias(node, source)
        self._by_node = {
            node.name: node.outputs[0].name or ""
            for node in model.graph
            if node.name and node.outputs
        }
        floats = [v.name or "" for node in model.graph for v in node.outputs if node.name]
        self.known = frozenset(self._float.get(name, name) for name in floats)

    def _alias(self, quantize: ir.Node, source: ir.Value | None) -> None:
        """Everything that holds the tensor goes by the name of an output, or by that in float."""
        stored = quantize.outputs[0]
        readers = [use.node for use in stored.uses() if use.node.op_type == DEQUANTIZE]
        outputs = [v.name for node in readers for v in node.outputs if v.is_graph_output()]
        name = (outputs or [source.name if source is not None else ""])[0] or ""
        same = [stored, *(v for node in readers for v in node.outputs)]
        for value in same if source is None or source.is_graph_input() else [source, *same]:
            self._float.setdefault(value.name or "", name)

    def of(self, value: ir.Value | None, writer: ir.Node | None) -> str:
        name = (value.name if value is not None else None) or ""
        if name in self._float or writer is None or len(writer.outputs) != 1:
            return self._float.get(name, name)
        origin = _COUNTER.sub("", writer.name or "")
        blocked = origin.removesuffix(_BLOCKED)
        made = blocked if blocked != origin else self._by_node.get(origin)
        if made is None or name in self.known:
            return name
        return self._float.get(made, made)


def _node(index: int) -> str:
    return f"\0{index}"


def _is_computed(value: ir.Value | None) -> bool:
    """Whether a node writes it, or it is an input."""
    return value is not None and bool(value.name) and value.const_value is None
