"""All operators that any target would refuse, told at once and before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgewise.errors import ModelError, UnsupportedOperator
from edgewise.findings import Finding
from edgewise.graph import node_label

#: further nodes that one line names
_TOLD = 3


@dataclass(frozen=True, slots=True)
class _Refusal:
    finding: Finding
    targets: tuple[str, ...]


def raise_refusals(
    findings: Mapping[str, Sequence[Finding]], models: Mapping[str, ir.Model]
) -> None:
    """Raise one error for every finding of severity `error`, by target; return if there is none.

    Raises:
        UnsupportedOperator: the first problem in full, and the names of the next ones.
        ModelError: the same, where the problem lies in no single node.
    """
    refusals = _by_node(findings)
    if not refusals:
        return
    first, rest = refusals[0], refusals[1:]
    targets = ", ".join(first.targets)
    # a target's own words may begin with what the error's say already, whatever it calls itself
    _, said, rest_of_it = first.finding.message.partition(" cannot take this operator: ")
    why = rest_of_it if said else first.finding.message
    remedy = " ".join(part for part in (first.finding.remedy, _rest(rest)) if part)
    op_type = _op_type(first.finding.node, models[first.targets[0]])
    why = why.removeprefix(f"{op_type}: ")
    if op_type is None:
        raise ModelError(
            f"{targets} cannot take the model",
            where=first.finding.node,
            why=why,
            remedy=remedy,
        )
    raise UnsupportedOperator(first.finding.node, op_type, target=targets, why=why, remedy=remedy)


def _by_node(findings: Mapping[str, Sequence[Finding]]) -> list[_Refusal]:
    """One entry per node, in the order of the graph, with the first target's words."""
    found: dict[str, _Refusal] = {}
    for target, remarks in findings.items():
        for finding in remarks:
            if finding.severity != "error":
                continue
            key = finding.node or finding.message
            known = found.get(key, _Refusal(finding, ()))
            if target not in known.targets:
                found[key] = _Refusal(known.finding, (*known.targets, target))
    return list(found.values())


def _rest(refusals: Sequence[_Refusal]) -> str:
    if not refusals:
        return ""
    names = [
        f"'{r.finding.node or r.finding.message}' on {', '.join(r.targets)}"
        for r in refusals[:_TOLD]
    ]
    more = f" and {len(refusals) - _TOLD} more" if len(refusals) > _TOLD else ""
    return f"Also refused: {'; '.join(names)}{more}."


def _op_type(label: str, model: ir.Model) -> str | None:
    return next((node.op_type for node in model.graph if label and node_label(node) == label), None)
