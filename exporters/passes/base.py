"""What a pass is, and the few moves that passes share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt
import onnx_ir as ir

from edgewise.graph import constant, consumers

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Declined:
    """A rewrite that looked possible and was not made."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class PassOutcome:
    """The model (changed in place), whether it changed, and what was left alone and why."""

    model: ir.Model
    modified: bool
    declined: tuple[Declined, ...] = ()


class Pass(Protocol):
    """Rewrites the main graph without changing what it computes.

    Precondition and postcondition: `pipeline.verify` holds. Nodes inside the bodies of If and Loop
    are left alone. Unused nodes may remain; the pipeline clears them away.
    """

    def __call__(self, model: ir.Model) -> PassOutcome: ...


def sole_consumer(value: ir.Value) -> ir.Node | None:
    """The one node that reads the value; None for several, none, or a graph output."""
    readers = consumers(value)
    return readers[0] if len(readers) == 1 and not value.is_graph_output() else None


def producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The standard-domain node of that type which makes the value."""
    node = None if value is None else value.producer()
    return node if node is not None and is_op(node, op_type) else None


def is_op(node: ir.Node, *op_types: str) -> bool:
    """Whether the node is one of these operators of the standard domain."""
    return node.domain in ("", "ai.onnx") and node.op_type in op_types


def scalar(value: ir.Value | None) -> float | None:
    """The number in a constant of one element."""
    array = constant(value)
    return float(array.reshape(())) if array is not None and array.size == 1 else None


def same_shape(first: ir.Value, second: ir.Value) -> bool:
    """Whether both shapes are known to be equal; dimensions of one name count as equal."""
    if first.shape is None or second.shape is None or len(first.shape) != len(second.shape):
        return False
    return all(
        a == b if isinstance(a, int) else a.value is not None and a == b
        for a, b in zip(first.shape, second.shape, strict=True)
    )


def keeps_shape(value: ir.Value, other: Array, result: ir.Value) -> bool:
    """Whether `value` broadcast with the constant `other`, which gives `result`, stays as large.

    Inference may have another name for a dimension of the result, so the constant alone decides
    where it can: each of its sizes is 1, or that of the value.
    """
    if value.shape is not None and other.ndim <= len(value.shape):
        sizes = list(value.shape)[len(value.shape) - other.ndim :]
        if all(size in (1, dim) for size, dim in zip(other.shape, sizes, strict=True)):
            return True
    return same_shape(value, result)


def operand_and_scalar(node: ir.Node) -> tuple[ir.Value, float] | None:
    """`(x, c)` of a commutative `op(x, c)` or `op(c, x)` with a one-element constant `c`.

    None where `c` would broadcast `x` to a higher rank.
    """
    for data, other in ((0, 1), (1, 0)):
        value, array = node.inputs[data], constant(node.inputs[other])
        if value is None or array is None or array.size != 1:
            continue
        if keeps_shape(value, array, node.outputs[0]):
            return value, float(array.reshape(()))
    return None


def make_node(
    op_type: str,
    inputs: Sequence[ir.Value | None],
    *,
    name: str | None,
    attributes: Sequence[ir.Attr] = (),
) -> ir.Node:
    """A standard-domain node with one output."""
    return ir.Node("", op_type, inputs, attributes, num_outputs=1, name=name)


def replace(graph: ir.Graph, old: ir.Node, new: Sequence[ir.Node]) -> None:
    """Put the chain `new` in the place of `old`; its last output takes over name and readers."""
    ir.convenience.replace_nodes_and_values(
        graph, old, [old], new, [old.outputs[0]], [new[-1].outputs[0]]
    )


def bypass(graph: ir.Graph, node: ir.Node, source: ir.Value) -> bool:
    """Let the readers of `node` read `source`; False where a graph output forbids it.

    The graph's output names must survive, so a bypassed output hands its name to `source`, which
    is impossible when that is itself an input, a constant or another output.
    """
    out = node.outputs[0]
    if out.is_graph_output():
        if source.producer() is None or source.is_graph_output():
            return False
        name, out.name = out.name, None
        source.name = name
    if source.shape is None:
        source.shape = out.shape
    ir.convenience.replace_all_uses_with(out, source, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    return True
