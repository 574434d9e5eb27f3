"""One finding for operators that are alike: a network has dozens of them, and a finding for each
would hide the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from edgewise.findings import Finding
from edgewise.targets.android.model import Operator

#: nodes that a finding names beside the first one
_NAMED = 3


def alike_finding(
    rule: str, message: str, operators: Sequence[Operator], remedy: str = ""
) -> Finding:
    """The message, what the operators write in elements, and the first of their ONNX nodes."""
    nodes = list(dict.fromkeys(operator.origin for operator in operators))
    others = [f"'{node}'" for node in nodes[1 : 1 + _NAMED]]
    if len(nodes) > 1 + _NAMED:
        others.append(f"{len(nodes) - 1 - _NAMED} more nodes")
    where = f"; also at {', '.join(others)}" if others else ""
    elements = sum(map(element_count, operators))
    text = f"{message} ({elements:,} elements{where})"
    return Finding(f"android/{rule}", "info", text, nodes[0], remedy)


def grouped(
    operators: Iterable[Operator], key: Callable[[Operator], str]
) -> dict[str, list[Operator]]:
    """The operators by key, both in order of execution."""
    groups: dict[str, list[Operator]] = {}
    for operator in operators:
        groups.setdefault(key(operator), []).append(operator)
    return groups


def by_kind(operators: Iterable[Operator]) -> dict[str, list[Operator]]:
    return grouped(operators, lambda operator: operator.kind)


def kind_counts(operators: Iterable[Operator]) -> str:
    """`CONV_2D 36, ADD 10`, the most frequent first."""
    counts = {kind: len(group) for kind, group in by_kind(operators).items()}
    ordered = sorted(counts, key=lambda kind: -counts[kind])
    return ", ".join(f"{kind} {counts[kind]}" for kind in ordered)


def element_count(operator: Operator) -> int:
    """How many numbers the operator writes."""
    return sum(int(np.prod(tensor.shape, dtype=np.int64)) for tensor in operator.outputs)
