"""Operators that tf2onnx leaves as they are: written in ONNX here, or refused by name.

GELU(x) = x / 2 (1 + erf(x / sqrt 2)),  approximately
          x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import pi, sqrt
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.graph import add_initializer, attribute, node_label

_PREFIX = "TFL_"


def write_leftovers(model: ir.Model, path: Path) -> None:
    """Rewrite in place. Raises ModelError: an operator is none of ONNX."""
    for node in list(model.graph.all_nodes()):
        write = _WRITERS.get(node.op_type)
        if write is not None and isinstance(node.graph, ir.Graph):
            new = list(write(node.graph, node))
            ir.convenience.replace_nodes_and_values(
                node.graph, node, [node], new, node.outputs, [new[-1].outputs[0]]
            )
        elif node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type):
            raise ModelError(
                f"operator {node.op_type.removeprefix(_PREFIX)} is not supported",
                where=f"{path}, tensor '{node_label(node)}'",
                why="tf2onnx does not convert it",
                remedy="Export from the model that the file was made of.",
            )


def _gelu(graph: ir.Graph, node: ir.Node) -> Iterator[ir.Node]:
    x, label = node.inputs[0], node_label(node)

    def number(value: float, name: str) -> ir.Value:
        return add_initializer(graph, f"{label}_{name}", np.asarray(value, np.float32))

    def step(op_type: str, inputs: Sequence[ir.Value | None]) -> ir.Node:
        return ir.Node("", op_type, inputs, num_outputs=1)

    if attribute(node, "approximate", 0):
        yield (cube := step("Pow", [x, number(3.0, "three")]))
        yield (small := step("Mul", [cube.outputs[0], number(0.044715, "small")]))
        yield (total := step("Add", [x, small.outputs[0]]))
        yield (scaled := step("Mul", [total.outputs[0], number(sqrt(2 / pi), "root")]))
        yield (bent := step("Tanh", scaled.outputs))
    else:
        yield (scaled := step("Div", [x, number(sqrt(2), "root")]))
        yield (bent := step("Erf", scaled.outputs))
    yield (raised := step("Add", [bent.outputs[0], number(1.0, "one")]))
    yield (product := step("Mul", [x, raised.outputs[0]]))
    yield ir.Node(
        "", "Mul", [product.outputs[0], number(0.5, "half")], num_outputs=1, name=node.name
    )


_WRITERS: dict[str, Callable[[ir.Graph, ir.Node], Iterator[ir.Node]]] = {f"{_PREFIX}GELU": _gelu}
