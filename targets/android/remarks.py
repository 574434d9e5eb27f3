"""Findings about a lowered graph: what costs speed, and what was refused."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgewise.errors import UnsupportedOperator
from edgewise.findings import Finding
from edgewise.targets.android.islands import island_findings
from edgewise.targets.android.kinds import NOT_DELEGATED_INT8
from edgewise.targets.android.lower import Lowered
from edgewise.targets.android.model import Operator
from edgewise.targets.android.ops.elementwise import ADD_LIMITS, MUL_LIMITS, inside

#: scale of input over output that XNNPACK takes for QUANTIZE of int8 to int8
_QUANTIZE_LIMITS = (2.0**-8, 2.0**7 + 1)


def refusal_finding(refusal: UnsupportedOperator) -> Finding:
    """The finding that stands for an error of `emit`."""
    return Finding(
        "android/unsupported-operator",
        "error",
        f"{refusal.op_type}: {refusal.why}",
        refusal.node,
        refusal.remedy,
    )


def findings_of(lowered: Lowered) -> tuple[Finding, ...]:
    """Remarks of the lowering, then one per operator that costs more than it could."""
    found = list(lowered.findings)
    found += [refusal_finding(refusal) for refusal in lowered.refusals]
    if not lowered.refusals:
        for graph in lowered.graph.all_graphs():
            found += island_findings(graph, lowered.float_nodes)
            found += _operator_findings(graph.operators)
    return tuple(found)


def _operator_findings(operators: Iterable[Operator]) -> list[Finding]:
    found = []
    for operator in operators:
        if operator.kind == "TRANSPOSE":
            found.append(_finding("layout-transpose", operator, "a transpose is kept before it"))
        if not operator.is_int8:
            continue
        if operator.kind in NOT_DELEGATED_INT8:
            found.append(
                _finding("not-delegated", operator, f"XNNPACK leaves int8 {operator.kind} alone")
            )
        elif operator.kind == "QUANTIZE" and _is_between_scales(operator):
            found.append(_finding("requantize", operator, "scales differ: a QUANTIZE is needed"))
        if not _inside_limits(operator):
            text = f"the scales of {operator.kind} are outside what XNNPACK takes"
            found.append(_finding("scale-ratio", operator, text))
    return found


def _is_between_scales(operator: Operator) -> bool:
    """Whether it converts integers; uint8 comes from the user's choice of inputs and outputs."""
    dtypes = {operator.inputs[0].dtype, operator.outputs[0].dtype}
    return operator.inputs[0].quantization is not None and np.dtype(np.uint8) not in dtypes


def _finding(rule: str, operator: Operator, message: str) -> Finding:
    return Finding(f"android/{rule}", "info", message, operator.origin)


def _inside_limits(operator: Operator) -> bool:
    """Whether the ratios of scales are inside XNNPACK's limits; others run, but slower."""
    out = operator.outputs[0].quantization
    scales = [t.quantization.scale[0] for t in operator.inputs if t.quantization is not None]
    if out is None or not scales:
        return True
    ratios = [float(scale / out.scale[0]) for scale in scales]
    if operator.kind in ("ADD", "SUB"):
        return all(inside(ratio, ADD_LIMITS) for ratio in ratios)
    if operator.kind == "MUL" and len(scales) == 2:
        return inside(float(scales[0] * scales[1] / out.scale[0]), MUL_LIMITS)
    if operator.kind == "QUANTIZE":
        return inside(ratios[0], _QUANTIZE_LIMITS)
    return True
