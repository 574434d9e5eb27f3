"""Which operators a GPU or an NPU leaves to the CPU, by the rule tables: one finding each.

An accelerator runs one connected group well. What it leaves splits the graph, and every split
copies tensors between processors, so how many operators are left says more than what they cost.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgewise.findings import Finding
from edgewise.targets.android.delegates.alike import alike_finding, grouped, kind_counts
from edgewise.targets.android.delegates.gpu import GPU
from edgewise.targets.android.delegates.npu import GOOGLE_TENSOR, MEDIATEK, QUALCOMM
from edgewise.targets.android.delegates.rules import RuleTable
from edgewise.targets.android.model import Operator

RULE_TABLES: dict[str, RuleTable] = {
    table.delegate: table for table in (GPU, QUALCOMM, MEDIATEK, GOOGLE_TENSOR)
}


def accelerator_findings(operators: Sequence[Operator], delegate: str) -> list[Finding]:
    """What the delegate leaves, with reasons; nothing where no rule objects to any operator."""
    table = RULE_TABLES[delegate]
    objections = {operator: table.objection(operator) for operator in operators}
    left = [operator for operator in operators if objections[operator] is not None]
    if not left:
        return []
    reasons = grouped(left, lambda operator: objections[operator] or "")
    told = "; ".join(f"{kind_counts(group)}: {reason}" for reason, group in reasons.items())
    by = f"by rule table {table.version}, no device was asked"
    text = (
        f"{table.title} leaves {len(left)} of {len(operators)} operators to the CPU, {by}: {told}"
    )
    return [alike_finding(f"{delegate}-unsupported", text, left)]
