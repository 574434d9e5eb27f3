"""Softmaxes over scores that a moderate mask, such as -10000, was added to, where `saturated_masks`
does not know the mask.

The range of their input tells: with steps of more than 1, neighbouring integers differ by a factor
of e in the result. The softmax then stays in float, with the operator that applies the mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from edgewise.calibration.placement import Placement
from edgewise.calibration.ranges import Range
from edgewise.calibration.scheme import QMAX, QMIN, NumberFormat
from edgewise.findings import Finding
from edgewise.graph import consumers, node_label

_WIDEST_STEP = 1.0
_APPLYING = frozenset({"Add", "Mul", "Sub", "Where"})


def leave_masked_softmaxes(
    model: ir.Model, placement: Placement, ranges: Mapping[str, Range], number: NumberFormat
) -> Placement:
    """The placement without them, and a finding for each."""
    names, findings = set(placement.names), list(placement.findings)
    for node in model.graph:
        if node not in placement or node.op_type not in ("Softmax", "LogSoftmax"):
            continue
        scores = node.inputs[0]
        found = None if scores is None else ranges.get(scores.name or "")
        if scores is None or found is None:
            continue
        step = (found.high - found.low) / (QMAX[number.dtype] - QMIN[number.dtype])
        if step <= _WIDEST_STEP:
            continue
        names.discard(node.name or "")
        findings.append(_finding(node, step))
        mask = scores.producer()
        if mask is not None and mask.op_type in _APPLYING and consumers(scores) == [node]:
            names.discard(mask.name or "")
    return replace(placement, names=frozenset(names), findings=tuple(findings))


def _finding(node: ir.Node, step: float) -> Finding:
    return Finding(
        rule="calibration/float-node",
        severity="warning",
        message=f"{node.op_type} stays in float: its input would have steps of {step:.1f}",
        node=node_label(node),
        remedy="Mask with smaller numbers, or leave the mask out where nothing is masked.",
    )
