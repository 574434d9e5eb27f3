"""Which nodes of a QDQ model are one layer, and which of its pairs of Q and DQ each layer needs.

1. Nodes that hand float tensors to each other without a pair between them are an island: an
   operator alone, one with its fused activation, or a composite. The two halves of a Swish that was
   spelled out are one island, too.
2. An island is a layer when a constant of it is quantized, or when the scheme has integers for it
   and pairs are all around it. What stayed in float on purpose (a normalization, a residual sum, an
   excluded node) is none, although pairs may surround it.
3. An island that only moves data is no layer: it is quantized where a neighbour is, through other
   movers, as placement has it (`placement.py`, rule 3). Quantization adds such nodes, too.
4. A pair is needed by the layers that write or read its tensor, and by those beyond movers. A pair
   that another pair reads (a requantization) is needed by what reads that one, too.
5. Where only weights are quantized, each node with a quantized constant is a layer.

So a set S of layers is quantized by the pairs that any layer of S needs, and the constants of S:
what `exclude` of all other layers leaves, wherever their scales are not tied together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from edgewise.calibration.float_form import name_nodes
from edgewise.calibration.operands import (
    UNQUANTIZABLE_OPS,
    float_outputs,
    inputs_of_role,
    is_float,
)
from edgewise.calibration.parameters import prescribed
from edgewise.calibration.placement import check_excluded, moves_data
from edgewise.calibration.residual_stream import residual_sums
from edgewise.calibration.scheme import QuantParams, Scheme
from edgewise.calibration.union_find import UnionFind
from edgewise.graph import constant, consumers, known_ranges, quantization_of
from edgewise.graph.normalization import match_normalization
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.graph.swish import is_silu

_PAIR = (QUANTIZE, DEQUANTIZE)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer, named after the first of its nodes that the hub model has.

    `nodes` are the hub model's nodes that leave integers together; `pairs` the names of the tensors
    that are quantized for it (in the QDQ model, what QuantizeLinear reads); `constants` the nodes
    of the QDQ model whose quantized constants are its own.
    """

    name: str
    op_type: str
    nodes: tuple[str, ...]
    pairs: tuple[str, ...]
    constants: tuple[str, ...]


def named_copy(model: ir.Model) -> ir.Model:
    """A copy whose nodes have the names that quantization goes by."""
    copy = ir.from_proto(ir.to_proto(model))
    name_nodes(copy)
    return copy


def constant_pairs(node: ir.Node) -> Iterator[tuple[int, ir.Node]]:
    """The inputs of a node that come from quantized constants: index and DequantizeLinear."""
    for index, value in enumerate(node.inputs):
        producer = None if value is None else value.producer()
        if producer is None or producer.op_type != DEQUANTIZE:
            continue
        if constant(producer.inputs[0]) is not None:
            yield index, producer


def quantized_layers(
    hub: ir.Model, qdq: ir.Model, scheme: Scheme, exclude: Collection[str] = ()
) -> tuple[Layer, ...]:
    """The layers of a QDQ model, in graph order.

    Args:
        hub: the float model that `qdq` was made from, its nodes named (`named_copy`).
        qdq: of `quantize_for` with this scheme, its nodes named.
        exclude: the hub model's nodes that were left in float.
    """
    nodes = [node for node in qdq.graph if node.op_type not in _PAIR]
    with_constants = {node.name or "" for node in nodes if any(constant_pairs(node))}
    known = {node.name or "" for node in hub.graph}
    if scheme.activation is None:
        return tuple(
            Layer(node.name or "", node.op_type, (node.name or "",), (), (node.name or "",))
            for node in nodes
            if node.name in with_constants and node.name in known
        )
    check_excluded(hub, exclude)
    left = _left_float(hub) | set(exclude)
    islands = _islands(hub, nodes)
    members: dict[str, list[ir.Node]] = defaultdict(list)
    for node in nodes:
        members[islands.find(node.name or "")].append(node)
    chosen: set[str] = set()
    movers: set[str] = set()
    for island, inside in members.items():
        moving = all(moves_data(node, scheme) for node in inside)
        added = moving and not any(node.name in known for node in inside)
        integer = any(node.name in with_constants for node in inside)
        if added or integer or _looks_quantized(inside, scheme, left):
            (movers if moving else chosen).add(island)
    around = _around(qdq, islands)
    owners = _owners(around, chosen, movers)
    owned: dict[str, list[str]] = defaultdict(list)
    for island, found in list(owners.items()):
        for owner in found:
            owned[owner].append(island)
    layers = []
    for island, inside in members.items():
        named = [node for node in inside if node.name in known]
        if island not in owned or not named:
            continue
        pairs = [tensor for tensor, near in around.items() if not near.isdisjoint(owned[island])]
        own = [node for other in owned[island] for node in members[other]]
        layers.append(
            Layer(
                named[0].name or "",
                named[0].op_type,
                tuple(node.name or "" for node in named),
                tuple(pairs),
                tuple(node.name or "" for node in own if node.name in with_constants),
            )
        )
    return tuple(layers)


def _left_float(hub: ir.Model) -> set[str]:
    """The nodes that placement leaves in float for what they are part of."""
    parts = {
        part.name or ""
        for node in hub.graph
        if (match := match_normalization(node)) is not None
        for part in match.nodes
    }
    return parts if known_ranges(hub) else parts | residual_sums(hub)


def _looks_quantized(inside: list[ir.Node], scheme: Scheme, left: Collection[str]) -> bool:
    """Case 2, for an island without constants: the scheme has an operator of it, none stayed in
    float, and pairs are all around it, which carry what the scheme prescribes."""
    if any(node.name in left for node in inside):
        return False
    integer = scheme.quantized_ops - UNQUANTIZABLE_OPS
    if not any(node.op_type in integer for node in inside):
        return False
    return all(_enclosed(node, inside, scheme) for node in inside)


def _enclosed(node: ir.Node, inside: list[ir.Node], scheme: Scheme) -> bool:
    for value in inputs_of_role(node, "activation"):
        producer = value.producer()
        if producer is None and constant(value) is None:
            return False
        if producer is not None and producer.op_type != DEQUANTIZE and producer not in inside:
            return False
    fixed = scheme.fixed_outputs.get(node.op_type)
    for value in float_outputs(node):
        for reader in consumers(value):
            if reader.op_type != QUANTIZE:
                if reader not in inside:
                    return False
            elif fixed is not None and not _carries(reader, fixed):
                return False
        if value.is_graph_output():
            return False
    return True


def _carries(quantize: ir.Node, fixed: QuantParams) -> bool:
    found, wanted = quantization_of(quantize), prescribed(fixed)
    return found.per_tensor and float(found.scale) == wanted.scale


def _islands(hub: ir.Model, nodes: list[ir.Node]) -> UnionFind:
    """Cases 1; every node has a unique name."""
    islands = UnionFind()
    swishes = {node.name for node in hub.graph if is_silu(node)}
    for node in nodes:
        islands.find(node.name or "")
        for value in node.inputs:
            producer = None if value is None else value.producer()
            if producer is None or not is_float(value):
                continue
            if producer.op_type not in _PAIR:
                islands.unite([producer.name or "", node.name or ""])
                continue
            gate = _source(producer) if node.name in swishes else None
            if gate is not None and gate.op_type == "Sigmoid":
                islands.unite([gate.name or "", node.name or ""])
    return islands


def _source(dequantize: ir.Node) -> ir.Node | None:
    """The node before the pair that ends with this DequantizeLinear."""
    stored = dequantize.inputs[0]
    quantize = None if stored is None else stored.producer()
    value = None if quantize is None else quantize.inputs[0]
    return None if value is None else value.producer()


def _around(qdq: ir.Model, islands: UnionFind) -> dict[str, set[str]]:
    """The islands that write or read the tensor of each pair."""
    return {
        node.inputs[0].name or "": {islands.find(name) for name in _touching(node)}
        for node in qdq.graph
        if node.op_type == QUANTIZE and node.inputs[0] is not None
    }


def _owners(
    around: Mapping[str, set[str]], chosen: set[str], movers: set[str]
) -> dict[str, set[str]]:
    """Cases 3 and 4: the layers for which each island is quantized.

    A layer owns itself; of movers, the layers at their border do, or the first of them, as a layer,
    where there is none. A float island has no owner.
    """
    together = UnionFind()
    for island in sorted(movers):
        together.find(island)
    for near in around.values():
        together.unite(sorted(near & movers))
    owners: dict[str, set[str]] = defaultdict(set, {island: {island} for island in chosen})
    border: dict[str, set[str]] = defaultdict(set)
    for near in around.values():
        for island in near & movers:
            border[together.find(island)] |= near & chosen
    for island in movers:
        leader = together.find(island)
        owners[island] = border[leader] or {leader}
    return owners


def _touching(quantize: ir.Node) -> set[str]:
    """The names of the nodes that write and read the tensor of a pair."""
    source = quantize.inputs[0]
    found = set()
    producer = None if source is None else source.producer()
    if producer is not None and producer.op_type not in _PAIR:
        found.add(producer.name or "")
    for use in quantize.outputs[0].uses():
        for reader in use.node.outputs[0].uses() if use.node.op_type == DEQUANTIZE else ():
            if reader.node.op_type == QUANTIZE:
                found |= _readers(reader.node)
            else:
                found.add(reader.node.name or "")
    return found


def _readers(quantize: ir.Node) -> set[str]:
    """Of a requantization: its tensor was written by a pair."""
    return {
        reader.node.name or ""
        for use in quantize.outputs[0].uses()
        for reader in use.node.outputs[0].uses()
        if reader.node.op_type not in _PAIR
    }
