"""Where one scale for all would cost too many bits: requantize on the way into a concatenation.

Concat, Max, Min and Where tie all their inputs to their output. Networks that concatenate again and
again (ShuffleNet, DenseNet, feature pyramids) so end with one scale for hundreds of tensors, set by
the widest of them, and a tensor with a range of 1 in a group with a range of 32 is left with 3 of
its 8 bits. Operators that read it directly deserve better:

1. Ties that no requantization can loosen (a slice, a pool, a reshape, ...) make rigid components.
   The width of a component is that of the union of its members' ranges.
2. A component matters when something beside these operators reads one of its tensors: what is only
   concatenated is only read at the scale of the concatenation, whatever it was written with.
3. The inputs of an operator join its output's group in graph order, while the group's range is at
   most `WIDEST_SHARE` times as wide as each component in it that matters. Where it would be wider,
   that input is requantized instead: an Identity marks the place (see `shared_scales`).

A factor f of range costs log2(f) bits, or 20 log10(f) dB. A requantization costs one pass over the
tensor, and one rounding of the copy that is concatenated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx_ir as ir

from edgewise.calibration.operands import activations, float_outputs, inputs_of_role
from edgewise.calibration.parameters import prescribed, representable
from edgewise.calibration.placement import Placement, moves_data
from edgewise.calibration.ranges import Range
from edgewise.calibration.scheme import Scheme
from edgewise.calibration.union_find import UnionFind
from edgewise.graph import constant

WIDEST_SHARE = 2.0

_JOINING = frozenset({"Concat", "Max", "Min", "Where"})


def loosen_costly_ties(
    model: ir.Model, placement: Placement, ranges: dict[str, Range], scheme: Scheme
) -> Placement:
    """Insert an Identity where rule 3 requantizes.

    Changes `model` in place and adds the new tensors to `ranges`; gives the placement with the new
    nodes.
    """
    joins = [node for node in model.graph if node in placement and _joins(node, scheme)]
    if not joins:
        return placement
    groups = _Groups(model, placement, ranges, scheme)
    markers = set(placement.markers)
    for node in joins:
        for value in dict.fromkeys(inputs_of_role(node, "activation")):
            if groups.tie(value, node.outputs[0]) or constant(value) is not None:
                continue
            marker = requantize_before(node, value)
            markers.add(marker.name or "")
            ranges[marker.outputs[0].name or ""] = ranges[value.name or ""]
    return Placement(placement.names | markers, placement.findings, frozenset(markers))


def _joins(node: ir.Node, scheme: Scheme) -> bool:
    return node.op_type in _JOINING and moves_data(node, scheme)


def requantize_before(consumer: ir.Node, source: ir.Value) -> ir.Node:
    """An Identity between a tensor and one of its readers, which marks a requantization."""
    output = ir.Value(
        name=f"{source.name}_for_{consumer.name}", type=source.type, shape=source.shape
    )
    marker = ir.Node(
        "",
        "Identity",
        [source],
        outputs=[output],
        name=f"{source.name}_requantize_{consumer.name}",
    )
    if consumer.graph is None:
        raise ValueError(f"node '{consumer.name}' is in no graph")
    consumer.graph.insert_before(consumer, marker)
    for slot, value in enumerate(consumer.inputs):
        if value is source:
            consumer.replace_input_with(slot, output)
    return marker


class _Groups:
    """Components (rule 1), and the groups that they join (rule 3)."""

    def __init__(
        self,
        model: ir.Model,
        placement: Placement,
        ranges: Mapping[str, Range],
        scheme: Scheme,
    ) -> None:
        self._sets = UnionFind()
        for node in model.graph:
            if node in placement and moves_data(node, scheme) and not _joins(node, scheme):
                self._sets.unite(value.name or "" for value in activations(node))
        natural = {**ranges, **_prescribed_ranges(model, placement, scheme)}
        self._range: dict[str, Range] = {}
        for name, real in natural.items():
            leader = self._sets.find(name)
            self._range[leader] = self._range.get(leader, Range(0.0, 0.0)).union(real)
        matter = {self._sets.find(name) for name in _directly_read(model, placement, scheme)}
        #: width of the narrowest component in the group that matters; one of only zeros never does
        self._narrowest = {
            leader: (_width(real) if leader in matter else 0.0) or math.inf
            for leader, real in self._range.items()
        }

    def tie(self, one: ir.Value, other: ir.Value) -> bool:
        """Join the groups of two tensors where rule 3 allows it; tells whether they are one."""
        first, second = self._sets.find(one.name or ""), self._sets.find(other.name or "")
        if first == second:
            return True
        total = self._range[first].union(self._range[second])
        narrowest = min(self._narrowest[first], self._narrowest[second])
        if _width(total) > WIDEST_SHARE * narrowest:
            return False
        leader = self._sets.unite([first, second]) or first
        self._range[leader], self._narrowest[leader] = total, narrowest
        return True


def _width(real: Range) -> float:
    return real.high - real.low


def _prescribed_ranges(model: ir.Model, placement: Placement, scheme: Scheme) -> dict[str, Range]:
    if scheme.activation is None:
        raise ValueError("the scheme has no activation format")
    return {
        value.name or "": representable(
            prescribed(scheme.fixed_outputs[node.op_type]), scheme.activation
        )
        for node in model.graph
        if node in placement and node.op_type in scheme.fixed_outputs
        for value in float_outputs(node)
    }


def _directly_read(model: ir.Model, placement: Placement, scheme: Scheme) -> set[str]:
    """Rule 2: tensors that an operator with another output scale reads, and graph outputs."""
    found = {value.name or "" for value in model.graph.outputs}
    for node in model.graph:
        if node not in placement or not moves_data(node, scheme):
            found.update(value.name or "" for value in node.inputs if value is not None)
    return found
