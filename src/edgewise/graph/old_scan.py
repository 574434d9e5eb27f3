"""Scan of opset 8, written out before a model is upgraded.

It has a batch in front of everything, over which it runs one sequence after the other; newer ones
have none. onnx's converter drops the batch from the shapes and leaves the data as they are, so the
operator must be gone before. Written for opset 8: axes are attributes.

  sequence b, step t   states, pieces = body(states, x[b, t] of each scanned input)
  results              last states of all sequences, and all pieces, stacked along batch and time
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.graph.bodies import inlined
from edgewise.graph.read import attribute, constant, node_label

_MOST_NODES = 20_000


def write_out_scans(model: ir.Model) -> None:
    """Replace every Scan, in place; the model is of opset 8, its shapes inferred.

    Raises ModelError where sizes or lengths are not known, or too large.
    """
    for node in list(model.graph.all_nodes()):
        if node.op_type == "Scan" and node.domain in ("", "ai.onnx"):
            _OldScan(node).replace()


class _OldScan:
    """One node while it is replaced."""

    def __init__(self, node: ir.Node) -> None:
        self.node, self.nodes = node, list[ir.Node]()
        self.body: ir.Graph = attribute(node, "body")
        self.constants: list[ir.Value] = []
        self.scanned = int(attribute(node, "num_scan_inputs"))
        self.kept = len(node.inputs) - 1 - self.scanned
        self.directions = attribute(node, "directions") or [0] * self.scanned
        self.batch, self.length = self._sizes()

    def _sizes(self) -> tuple[int, int]:
        shape = None if self.node.inputs[-1] is None else self.node.inputs[-1].shape
        if shape is None or not all(isinstance(dim, int) for dim in shape[:2]):
            raise self._error("its batch or length is not known")
        batch, length = int(shape[0]), int(shape[1])  # type: ignore[arg-type]  # checked above
        if not 0 < batch * length * len(self.body) <= _MOST_NODES:
            raise self._error(f"it runs {batch} x {length} steps of {len(self.body)} nodes")
        lengths = self.node.inputs[0]
        known = constant(lengths)
        if lengths is not None and (known is None or (known != length).any()):
            raise self._error("its sequences have lengths of their own")
        return batch, length

    def replace(self) -> None:
        node, graph = self.node, self.node.graph
        assert isinstance(graph, ir.Graph)
        last: list[list[ir.Value]] = []
        stacked: list[list[ir.Value]] = []
        for sequence in range(self.batch):
            states, pieces = self._sequence(sequence)
            last.append([self._op("Unsqueeze", [value], axes=[0]) for value in states])
            stacked.append(pieces)
        rows = [*zip(*last, strict=True), *zip(*stacked, strict=True)]
        results = [self._op("Concat", list(row), axis=0) for row in rows]
        for value in self.constants:
            graph.register_initializer(value)
        graph.insert_before(node, self.nodes)
        for old, new in zip(node.outputs, results, strict=True):
            new.shape, new.type = old.shape, old.type
            if old.is_graph_output():
                new.name, old.name = old.name, None
            ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        graph.remove(node, safe=True)

    def _sequence(self, sequence: int) -> tuple[list[ir.Value], list[ir.Value]]:
        """Last states, and each stacked output as (1, length, ...)."""
        sources = list(self.node.inputs[1:])
        states = [self._cut(value, [sequence]) for value in sources[: self.kept]]
        rows: list[list[ir.Value]] = []
        for step in range(self.length):
            inner = [
                self._cut(value, [sequence, self.length - 1 - step if backwards else step])
                for value, backwards in zip(sources[self.kept :], self.directions, strict=True)
            ]
            stem = f"{node_label(self.node)}/{sequence}/{step}"
            copy = inlined(self.body, [*states, *inner], stem)
            self.nodes.extend(copy.nodes)
            self.constants.extend(copy.constants)
            states = copy.results[: self.kept]
            row = copy.results[self.kept :]
            rows.append([self._op("Unsqueeze", [value], axes=[0, 1]) for value in row])
        columns = zip(*rows, strict=True)
        return states, [self._op("Concat", list(column), axis=1) for column in columns]

    def _cut(self, value: ir.Value | None, position: list[int]) -> ir.Value:
        """The element at a position along the first axes."""
        if value is None:
            raise self._error("an input is missing")
        axes = list(range(len(position)))
        ends = [index + 1 for index in position]
        piece = self._op("Slice", [value], axes=axes, starts=position, ends=ends)
        return self._op("Squeeze", [piece], axes=axes)

    def _op(self, op_type: str, inputs: list[ir.Value], **attributes: Any) -> ir.Value:
        name = f"{node_label(self.node)}/{op_type}_{len(self.nodes)}"
        node = ir.node(op_type, inputs, attributes=attributes, name=name)
        node.outputs[0].name = f"{name}:0"
        self.nodes.append(node)
        return node.outputs[0]

    def _error(self, why: str) -> ModelError:
        return ModelError(
            "a Scan of opset 8 cannot be upgraded",
            where=f"node '{node_label(self.node)}' (Scan)",
            why=why,
            remedy="Export the model with opset 9 or newer.",
        )
