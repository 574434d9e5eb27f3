"""Where Core ML will run each operation (`MLComputePlan`), beside what the rules foretold."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgewise.findings import Finding
from edgewise.targets.apple.neural_engine.lint import Forecast

NEURAL_ENGINE = "NeuralEngine"
_NAMES_TOLD = 5


@dataclass(frozen=True, slots=True)
class Placement:
    """One operation: the unit that Core ML prefers, those that could take it, and its share of the
    estimated cost (0 to 1), None where Core ML gives none."""

    output: str
    operator: str
    preferred: str
    supported: tuple[str, ...]
    cost: float | None


def placements(rows: Iterable[dict[str, Any]]) -> list[Placement]:
    """From the agent's answer; operations without outputs are nobody's."""
    return [
        Placement(
            output=row["outputs"][0],
            operator=str(row["operator"]).rpartition(".")[2],  # "ios17.conv"
            preferred=row["preferred"],
            supported=tuple(row["supported"]),
            cost=row["cost"],
        )
        for row in rows
        if row["outputs"]
    ]


def placement_findings(placed: Sequence[Placement], forecasts: Sequence[Forecast]) -> list[Finding]:
    """How much runs where, and one remark for each kind of operation that was foretold wrongly."""
    if not placed:
        return []
    units = Counter(placement.preferred for placement in placed)
    told = ", ".join(f"{count} on {unit}" for unit, count in units.most_common())
    costs = [p.cost for p in placed if p.cost is not None]
    share = sum(p.cost for p in placed if p.cost is not None and p.preferred == NEURAL_ENGINE)
    weight = f"; {share / sum(costs):.0%} of the cost on {NEURAL_ENGINE}" if sum(costs) else ""
    summary = Finding(
        "apple/mac-placement", "info", f"MLComputePlan: {told} of {len(placed)} operations{weight}"
    )
    return [summary, *_surprises(placed, {f.output: f for f in forecasts})]


def _surprises(placed: Sequence[Placement], forecasts: dict[str, Forecast]) -> list[Finding]:
    kinds: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
    for placement in placed:
        forecast = forecasts.get(placement.output)
        if forecast is None:
            continue
        there = placement.preferred == NEURAL_ENGINE
        if forecast.effect == "may leave" or forecast.on_neural_engine == there:
            continue
        kinds[placement.operator, placement.preferred, there].append(placement.output)
    return [_surprise(*kind, outputs) for kind, outputs in kinds.items()]


def _surprise(operator: str, unit: str, there: bool, outputs: list[str]) -> Finding:
    names = ", ".join(outputs[:_NAMES_TOLD]) + (", ..." if len(outputs) > _NAMES_TOLD else "")
    foretold = "somewhere else" if there else f"on {NEURAL_ENGINE}"
    return Finding(
        "apple/mac-placement-differs",
        "info" if there else "warning",
        f"{len(outputs)} x {operator} run on {unit}, and were expected {foretold}: {names}",
        node=outputs[0],
    )
