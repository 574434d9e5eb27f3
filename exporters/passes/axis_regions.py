"""Regions of a graph that can be computed in any order of axes.

A region is what hangs together over Transposes and operators that go along with any order of axes
(`axis_orders`). Each of its values has axes that are followed through the region, so that an order
can be told as a tuple of these axes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from edgewise.exporters.passes.axis_orders import Order, Passage
from edgewise.exporters.passes.base import is_op
from edgewise.exporters.passes.merge_transposes import permutation
from edgewise.graph import constant


@dataclass(frozen=True, slots=True)
class Reader:
    """Someone who reads a value in one order: a node at one of its inputs, or an output (None)."""

    node: ir.Node | None
    index: int
    value: ir.Value


@dataclass(slots=True)
class Region:
    """Values with their axes, in the order of the graph as it is."""

    axes: dict[ir.Value, Order]
    nodes: dict[ir.Node, Passage] = field(default_factory=dict)
    transposes: set[ir.Node] = field(default_factory=set)

    def origin(self, value: ir.Value) -> ir.Value:
        """The value that a chain of the region's Transposes starts from."""
        maker = value.producer()
        while maker is not None and maker in self.transposes:
            source = maker.inputs[0]
            assert source is not None  # a Transpose has an input
            value, maker = source, source.producer()
        return value

    def readers(self) -> dict[ir.Value, list[Reader]]:
        """By origin: everyone but the region's Transposes."""
        found: dict[ir.Value, list[Reader]] = {}
        for value in self.axes:
            listed = found.setdefault(self.origin(value), [])
            for node, index in value.uses():
                if node not in self.transposes:
                    listed.append(Reader(node, index, value))
            if value.is_graph_output():
                listed.append(Reader(None, 0, value))
        return found

    def goes_along(self, reader: Reader) -> bool:
        """Whether a reader takes any order: a node of the region, at an input with its axes."""
        found = None if reader.node is None else self.nodes.get(reader.node)
        return found is not None and reader.index in found.data


def permutation_of(node: ir.Node) -> Order | None:
    """The order of a Transpose whose rank is known; None for anything else."""
    data = node.inputs[0] if is_op(node, "Transpose") else None
    order = None if data is None or data.shape is None else permutation(node)
    return None if order is None else tuple(order)


def find_region(
    graph: ir.Graph, start: ir.Value, passages: Mapping[ir.Node, Passage], seen: set[ir.Value]
) -> Region:
    """All that hangs together with `start`, the input of a Transpose, but for values `seen`."""
    assert start.shape is not None  # its Transpose has a known rank
    region = Region({start: tuple(range(len(start.shape)))})
    queue = deque([start])
    tried: set[ir.Node] = set()
    while queue:
        value = queue.popleft()
        maker = value.producer()
        for node in ([] if maker is None else [maker]) + [node for node, _ in value.uses()]:
            if node in tried or node.graph is not graph:
                continue
            found = _axes_around(region, node, value, passages.get(node))
            if found is None or any(
                region.axes.get(other, axes) != axes or other in seen
                for other, axes in found.items()
            ):
                continue
            tried.add(node)
            if node in passages:
                region.nodes[node] = passages[node]
            else:
                region.transposes.add(node)
            queue.extend(other for other in found if other not in region.axes)
            region.axes.update(found)
    return region


def _axes_around(
    region: Region, node: ir.Node, value: ir.Value, through: Passage | None
) -> dict[ir.Value, Order] | None:
    """The axes of all that goes through a node, told from one value; None where it stops there."""
    axes = region.axes[value]
    order = permutation_of(node)
    if order is not None:
        data, result = node.inputs[0], node.outputs[0]
        if data is None or constant(data) is not None:
            return None
        if value is data:
            return {result: tuple(axes[axis] for axis in order)}
        return {data: tuple(axes[order.index(axis)] for axis in range(len(order)))}
    if through is None:
        return None
    if value in node.outputs:
        if len(through.kept) != through.rank:
            return None  # nothing tells of the axes that are gone
    elif all(node.inputs[index] is not value for index in through.data):
        return None
    kept = tuple(axes[axis] for axis in through.kept)
    inputs = [data for index in through.data if (data := node.inputs[index]) is not None]
    return {**dict.fromkeys(inputs, axes), **dict.fromkeys(node.outputs, kept)}
