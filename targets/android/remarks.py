"""Findings about a lowered graph: what was refused, and what costs speed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgewise.errors import UnsupportedOperator
from edgewise.findings import Finding
from edgewise.targets.android.delegates.accelerators import accelerator_findings
from edgewise.targets.android.delegates.alike import alike_finding
from edgewise.targets.android.delegates.placement import Placement
from edgewise.targets.android.delegates.xnnpack import placement_findings, ratio_findings
from edgewise.targets.android.islands import island_findings
from edgewise.targets.android.lower import Lowered
from edgewise.targets.android.model import Operator
from edgewise.targets.android.options import DEFAULT_DELEGATES, XNNPACK


def refusal_finding(refusal: UnsupportedOperator) -> Finding:
    """The finding that stands for an error of `emit`."""
    return Finding(
        "android/unsupported-operator",
        "error",
        f"{refusal.op_type}: {refusal.why}",
        refusal.node,
        refusal.remedy,
    )


def findings_of(
    lowered: Lowered,
    placement: Placement | None = None,
    delegates: Iterable[str] = DEFAULT_DELEGATES,
) -> tuple[Finding, ...]:
    """Remarks of the lowering, then what costs more than it could.

    Args:
        placement: what the runtime said about the finished file, once there is one.
        delegates: those that the user cares about, of `edgewise.targets.android.options`.
    """
    found = list(lowered.findings)
    found += [refusal_finding(refusal) for refusal in lowered.refusals]
    if lowered.refusals:
        return tuple(found)
    graphs = lowered.graph.all_graphs()
    for graph in graphs:
        found += island_findings(graph, lowered.float_nodes)
    operators = [operator for graph in graphs for operator in graph.operators]
    found += _movements(operators)
    for delegate in delegates:
        if delegate != XNNPACK:
            found += accelerator_findings(operators, delegate)
            continue
        found += ratio_findings(operators)
        if placement is not None:
            found += placement_findings(operators, placement)
    return tuple(found)


def _movements(operators: list[Operator]) -> list[Finding]:
    """Transposes and requantizations: they compute nothing, and cost what they copy."""
    transposes = [operator for operator in operators if operator.kind == "TRANSPOSE"]
    between = [operator for operator in operators if _is_between_scales(operator)]
    found = []
    if transposes:
        text = f"{len(transposes)} TRANSPOSE kept: operators ask for another order of axes"
        found.append(alike_finding("layout-transpose", text, transposes))
    if between:
        text = f"{len(between)} QUANTIZE added: scales differ on both sides"
        found.append(alike_finding("requantize", text, between))
    return found


def _is_between_scales(operator: Operator) -> bool:
    """Whether it converts integers; uint8 comes from the user's choice of inputs and outputs."""
    if operator.kind != "QUANTIZE" or not operator.is_int8:
        return False
    dtypes = {operator.inputs[0].dtype, operator.outputs[0].dtype}
    return operator.inputs[0].quantization is not None and np.dtype(np.uint8) not in dtypes
