"""Normalizations over the last axes, where a model spells them out.

    LayerNormalization    y = d / sqrt(mean(d^2) + epsilon) * scale + bias    with d = x - mean(x)
    RMSNormalization      y = x / sqrt(mean(x^2) + epsilon) * scale

The match starts at Sqrt and takes
  1. the square as Pow by 2 or as Mul of a tensor with itself;
  2. the quotient as Div, or as Mul by Reciprocal or by Div of 1;
  3. a scale, and behind it a bias, that are constant and broadcast from the axes in question, each
     as the only reader of what is before it; without one, the scale is 1;
  4. in place of the quotient, a LayerNormalization with its products multiplied out: see
     `multiplied_normalization`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.graph.multiplied_normalization import match_multiplied
from edgewise.graph.read import attribute, constant
from edgewise.graph.write import add_initializer

_STANDARD = ("", "ai.onnx")


@dataclass(slots=True)
class NormalizationMatch:
    """What is normalized, over which `count` of last axes, and the nodes that spell it out.

    `centred` tells a LayerNormalization from an RMSNormalization.
    """

    x: ir.Value
    centred: bool
    count: int
    epsilon: float
    output: ir.Value
    nodes: list[ir.Node] = field(default_factory=list)
    scale: npt.NDArray[Any] | None = None
    bias: npt.NDArray[Any] | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of the normalized axes, which are static."""
        assert self.x.shape is not None
        return tuple(int(dim) for dim in self.x.shape[-self.count :])  # type: ignore[arg-type]


def match_normalization(root: ir.Node) -> NormalizationMatch | None:
    """The normalization whose square root this node is."""
    if not _is(root, "Sqrt"):
        return None
    add = _producer(root.inputs[0], "Add")
    found = _operand_and_number(add)
    mean = None if found is None else _producer(found[0], "ReduceMean")
    if add is None or found is None or mean is None:
        return None
    square = None if mean.inputs[0] is None else mean.inputs[0].producer()
    d = _squared(square)
    if d is None or square is None:
        return None
    count = _last_axes(mean, d)
    quotient = _quotient(root, d)
    if count and quotient is None:
        return _multiplied(root, d, count, found[1], [square, mean, add])
    if not count or quotient is None:
        return None
    match = NormalizationMatch(
        d, False, count, found[1], quotient[-1].outputs[0], [square, mean, add, root, *quotient]
    )
    _centre(match)
    if not all(isinstance(dim, int) for dim in (match.x.shape or [])[-count:]):
        return None
    _take_parameters(match)
    return match


def _multiplied(
    root: ir.Node, d: ir.Value, count: int, epsilon: float, nodes: list[ir.Node]
) -> NormalizationMatch | None:
    """Case 4."""
    match = NormalizationMatch(d, False, count, epsilon, d)
    _centre(match)
    difference = _producer(d, "Sub")
    average = None if difference is None else difference.inputs[1]
    if not match.centred or average is None:
        return None
    rest = match_multiplied(root, match.x, average)
    if rest is None or not all(isinstance(dim, int) for dim in (match.x.shape or [])[-count:]):
        return None
    match.nodes += [*nodes, root, *rest.nodes]
    match.output = rest.nodes[-1].outputs[0]
    for name, array in (("scale", rest.scale), ("bias", rest.bias)):
        vector = None if array is None else _over_axes(array, match.sizes)
        if array is not None and vector is None:
            return None
        setattr(match, name, vector)
    return match


def fuse_normalizations(model: ir.Model, *, centred_only: bool) -> bool:
    """Put one node in the place of each match, in place; tells whether there was one.

    RMSNormalization is an operator of opset 23, LayerNormalization of opset 17.
    """
    fused = False
    for root in list(model.graph):
        match = match_normalization(root) if root.graph is model.graph else None
        if match is not None and (match.centred or not centred_only):
            _fuse(model.graph, root, match)
            fused = True
    return fused


def _fuse(graph: ir.Graph, root: ir.Node, match: NormalizationMatch) -> None:
    last, old = match.nodes[-1], match.output
    dtype = np.float32 if old.dtype is None else old.dtype.numpy()
    scale = np.ones(match.sizes, dtype) if match.scale is None else match.scale
    operands = [match.x, add_initializer(graph, f"{old.name}_scale", scale)]
    if match.bias is not None:
        operands.append(add_initializer(graph, f"{old.name}_bias", match.bias))
    node = ir.node(
        "LayerNormalization" if match.centred else "RMSNormalization",
        operands,
        attributes={"axis": -match.count, "epsilon": match.epsilon},
        name=root.name,
    )
    graph.insert_before(last, node)
    new = node.outputs[0]
    new.shape, new.type = old.shape, old.type
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    new.name, old.name = old.name, None
    for part in reversed(match.nodes):
        if not any(value.uses() or value.is_graph_output() for value in part.outputs):
            graph.remove(part, safe=True)


def _is(node: ir.Node | None, *op_types: str) -> bool:
    return node is not None and node.domain in _STANDARD and node.op_type in op_types


def _producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if _is(node, op_type) else None


def _number(value: ir.Value | None) -> float | None:
    array = constant(value)
    return float(array.reshape(())) if array is not None and array.size == 1 else None


def _operand_and_number(node: ir.Node | None) -> tuple[ir.Value, float] | None:
    if node is None:
        return None
    for value, other in (node.inputs, node.inputs[::-1]):
        number = _number(other)
        if number is not None and value is not None:
            return value, number
    return None


def _squared(node: ir.Node | None) -> ir.Value | None:
    """Case 1."""
    if node is None:
        return None
    if _is(node, "Mul") and node.inputs[0] is node.inputs[1]:
        return node.inputs[0]
    if _is(node, "Pow") and _number(node.inputs[1]) == 2.0:
        return node.inputs[0]
    return None


def _last_axes(mean: ir.Node, x: ir.Value) -> int:
    """How many last axes a ReduceMean reduces; 0 where it reduces others or drops them."""
    given = constant(mean.inputs[1]) if len(mean.inputs) > 1 else attribute(mean, "axes")
    if given is None or x.shape is None or not attribute(mean, "keepdims", 1):
        return 0
    rank = len(x.shape)
    axes = sorted({int(axis) % rank for axis in given})
    return len(axes) if axes == list(range(rank - len(axes), rank)) else 0


def _quotient(root: ir.Node, d: ir.Value) -> list[ir.Node] | None:
    """Case 2: the nodes from the root to `d / root`."""
    for use in root.outputs[0].uses():
        node = use.node
        if _is(node, "Div") and use.idx == 1:
            if _same(node.inputs[0], d):
                return [node]
            inverse = node if _number(node.inputs[0]) == 1.0 else None
        else:
            inverse = node if _is(node, "Reciprocal") else None
        for later in () if inverse is None else inverse.outputs[0].uses():
            other = later.node.inputs[1 - later.idx] if _is(later.node, "Mul") else None
            if inverse is not None and _same(other, d):
                return [inverse, later.node]
    return None


def _same(first: ir.Value | None, second: ir.Value) -> bool:
    """Whether two values are one, or the same difference written twice."""
    if first is second:
        return True
    one, two = _producer(first, "Sub"), _producer(second, "Sub")
    return one is not None and two is not None and list(one.inputs) == list(two.inputs)


def _centre(match: NormalizationMatch) -> None:
    """Make it a LayerNormalization where what is squared is x - mean(x)."""
    difference = _producer(match.x, "Sub")
    mean = None if difference is None else _producer(difference.inputs[1], "ReduceMean")
    if difference is None or mean is None or difference.inputs[0] is None:
        return
    x = difference.inputs[0]
    if mean.inputs[0] is x and _last_axes(mean, x) == match.count:
        match.x, match.centred = x, True
        match.nodes = [mean, difference, *match.nodes]


def _take_parameters(match: NormalizationMatch) -> None:
    """Case 3."""
    for op_type in ("Mul", "Add") if match.centred else ("Mul",):
        uses = tuple(match.output.uses())
        if len(uses) != 1 or match.output.is_graph_output() or not _is(uses[0].node, op_type):
            if op_type == "Mul":
                continue
            return
        node = uses[0].node
        array = constant(node.inputs[1 - uses[0].idx])
        vector = None if array is None else _over_axes(array, match.sizes)
        if vector is None:
            return
        if op_type == "Mul":
            match.scale = vector
        else:
            match.bias = vector
        match.output = node.outputs[0]
        match.nodes.append(node)


def _over_axes(array: npt.NDArray[Any], sizes: tuple[int, ...]) -> npt.NDArray[Any] | None:
    """A constant spread over the normalized axes; None where it varies along others."""
    while array.ndim > len(sizes) and array.shape[0] == 1:
        array = array[0]
    if array.ndim > len(sizes):
        return None
    try:
        return np.array(np.broadcast_to(array, sizes))
    except ValueError:
        return None
