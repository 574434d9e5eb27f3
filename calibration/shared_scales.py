"""One scale and zero point per group of tensors that an operator ties together.

1. The quantized inputs and outputs of a shared-scale operator form one group (union-find), and so
   do input and output of the operators that onnxruntime.quantization ties by itself.
2. A group's range is the union of its members' ranges.
3. A prescribed output (Softmax, Sigmoid, ...) takes its prescribed parameters. Its whole group
   takes them when every other member's range fits them to within one step; a wider group would
   saturate. Otherwise the group keeps its own range, and the prescribed tensor is requantized on
   the way into each shared-scale operator: an Identity node marks the place, and becomes
   DequantizeLinear -> QuantizeLinear (see `finish.py`).
4. What a requantization marker reads and writes is not tied (see also `costly_sharing.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from edgewise.calibration.costly_sharing import requantize_before
from edgewise.calibration.operands import activations, float_outputs
from edgewise.calibration.parameters import affine_parameters, prescribed, representable
from edgewise.calibration.placement import Placement, moves_data
from edgewise.calibration.ranges import Range
from edgewise.calibration.scheme import NumberFormat, QuantParams, Scheme
from edgewise.calibration.union_find import UnionFind


def requantize_conflicts(
    model: ir.Model, placement: Placement, ranges: dict[str, Range], scheme: Scheme
) -> Placement:
    """Insert an Identity where rule 3 needs a requantization.

    Changes `model` in place and adds the new tensors to `ranges`; gives the placement with the new
    nodes.
    """
    number = _activation(scheme)
    markers: set[str] = set()
    for members in _groups(model, placement, scheme).values():
        fixed = _prescribed_members(model, placement, members, scheme)
        chosen = _choose(members, fixed, ranges, number)
        for tensor, parameters in fixed.items():
            if parameters == chosen or len(members) == 1:
                continue
            for node in _requantize(model, placement, tensor, scheme):
                markers.add(node.name or "")
                ranges[node.outputs[0].name or ""] = ranges[tensor]
    return Placement(placement.names | markers, placement.findings, placement.markers | markers)


def assign_parameters(
    model: ir.Model, placement: Placement, ranges: Mapping[str, Range], scheme: Scheme
) -> dict[str, QuantParams]:
    """Scale and zero point of every activation of the placed nodes, once no conflict is left."""
    number = _activation(scheme)
    parameters: dict[str, QuantParams] = {}
    for members in _groups(model, placement, scheme).values():
        fixed = _prescribed_members(model, placement, members, scheme)
        chosen = _choose(members, fixed, ranges, number)
        if chosen is None:
            chosen = affine_parameters(_union(members, fixed, ranges, number), number)
        parameters.update(dict.fromkeys(members, chosen))
    return parameters


def _activation(scheme: Scheme) -> NumberFormat:
    if scheme.activation is None:
        raise ValueError("the scheme has no activation format")
    return scheme.activation


def _groups(model: ir.Model, placement: Placement, scheme: Scheme) -> dict[str, list[str]]:
    """Group leader -> members, both in graph order."""
    ties = UnionFind()
    for node in model.graph:
        if node not in placement:
            continue
        tensors = [value.name or "" for value in activations(node)]
        if _ties(node, placement, scheme):
            ties.unite(tensors)
        else:
            for name in tensors:
                ties.find(name)
    return ties.groups()


def _prescribed_members(
    model: ir.Model, placement: Placement, members: list[str], scheme: Scheme
) -> dict[str, QuantParams]:
    inside = set(members)
    return {
        value.name or "": prescribed(scheme.fixed_outputs[node.op_type])
        for node in model.graph
        if node in placement and node.op_type in scheme.fixed_outputs
        for value in float_outputs(node)
        if value.name in inside
    }


def _choose(
    members: list[str],
    fixed: Mapping[str, QuantParams],
    ranges: Mapping[str, Range],
    number: NumberFormat,
) -> QuantParams | None:
    """The finest prescribed parameters that fit the whole group, or None."""
    for candidate in sorted(set(fixed.values()), key=lambda p: (p.scale, p.zero_point)):
        whole = representable(candidate, number)
        others = [ranges[name] for name in members if fixed.get(name) != candidate]
        if all(
            real.low >= whole.low - candidate.scale and real.high <= whole.high + candidate.scale
            for real in others
        ):
            return candidate
    return None


def _union(
    members: list[str],
    fixed: Mapping[str, QuantParams],
    ranges: Mapping[str, Range],
    number: NumberFormat,
) -> Range:
    total = Range(0.0, 0.0)
    for name in members:
        total = total.union(representable(fixed[name], number) if name in fixed else ranges[name])
    return total


def _requantize(
    model: ir.Model, placement: Placement, tensor: str, scheme: Scheme
) -> list[ir.Node]:
    """An Identity before each shared-scale consumer of the tensor."""
    return [
        requantize_before(consumer, source)
        for consumer in list(model.graph)
        if _ties(consumer, placement, scheme)
        for source in dict.fromkeys(consumer.inputs)
        if source is not None and source.name == tensor
    ]


def _ties(node: ir.Node, placement: Placement, scheme: Scheme) -> bool:
    """Whether one scale and zero point must run through the node: not through a marker."""
    return node in placement and moves_data(node, scheme) and node.name not in placement.markers
