"""The rules applied to a program: findings for people, and a forecast for each operation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgewise.findings import Finding
from edgewise.targets.apple.neural_engine.measures import (
    MEASURES,
    PROGRAM_MEASURES,
    is_fp32,
    is_stored,
    operations,
)
from edgewise.targets.apple.neural_engine.rules import PROGRAM_RULES, RULES, Effect, Rule
from edgewise.targets.apple.origins import origin_of

#: from harmless to grave
_EFFECTS: tuple[Effect | None, ...] = (None, "costs", "may leave", "leaves")
_FP32_PACKAGE = "apple/ane-fp32-package"


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the rules expect of one operation, which is known by its first output's name.

    `effect` is the gravest of `rules`' effects, None where none spoke.
    """

    output: str
    op_type: str
    node: str
    effect: Effect | None
    rules: tuple[str, ...]

    @property
    def on_neural_engine(self) -> bool:
        return self.effect != "leaves"


@dataclass(frozen=True, slots=True)
class Lint:
    """`findings` in the program's order, each rule once per node, after those on the whole."""

    findings: tuple[Finding, ...]
    forecasts: tuple[Forecast, ...]


def lint(function: Any, *, narrowed: bool = True) -> Lint:
    """Examine a function of a MIL program, finished or read back from a package.

    Findings carry the user's node names where operations have them (see `origins`), and the
    operations' own names otherwise. Compressed constants are remarked on, but not forecast. Of a
    program whose floats are not `narrowed` to fp16 yet, their type is not remarked on.
    """
    found: dict[tuple[str, str], Finding] = {}
    forecasts = []
    in_fp32 = bool(is_fp32(function))
    for operation in operations(function):
        node = origin_of(operation) or str(operation.name)
        spoken = _rules_on(operation, in_fp32)
        for rule, size in spoken.items():
            found.setdefault((rule.rule, node), _finding(rule, node, size))
        if not is_stored(operation) and operation.op_type != "cast":
            effect = max((rule.effect for rule in spoken), key=_EFFECTS.index, default=None)
            names = tuple(rule.rule for rule in spoken)
            output = str(operation.outputs[0].name)
            forecasts.append(Forecast(output, operation.op_type, node, effect, names))
    whole = [f for f in _on_the_whole(function) if narrowed or f.rule != _FP32_PACKAGE]
    if not (in_fp32 and narrowed):
        whole = [_summary(forecasts), *whole]
    return Lint((*whole, *found.values()), tuple(forecasts))


def _rules_on(operation: Any, in_fp32: bool) -> Mapping[Rule, float]:
    spoken: dict[Rule, float] = {}
    for rule in RULES:
        if rule.operations and operation.op_type not in rule.operations:
            continue
        if in_fp32 and rule.measure == "fp32_results":
            continue  # told once, of the whole program
        if not rule.operations and is_stored(operation):
            continue
        size = MEASURES[rule.measure](operation) if rule.measure else 0.0
        if not rule.measure or size > rule.above:
            spoken[rule] = size
    return spoken


def _finding(rule: Rule, node: str, size: float) -> Finding:
    detail = f"; here it is {size:g}" if rule.above else ""
    chips = f" ({rule.chips})" if rule.chips else ""
    message = f"{rule.message}{detail}{chips} [{rule.source}]"
    return Finding(rule.rule, rule.severity, message, node=node, remedy=rule.remedy)


def _on_the_whole(function: Any) -> list[Finding]:
    found = []
    for rule in PROGRAM_RULES:
        size = PROGRAM_MEASURES[rule.measure](function)
        if size > rule.above:
            message = f"{rule.message.format(size)} [{rule.source}]"
            found.append(Finding(rule.rule, rule.severity, message, remedy=rule.remedy))
    return found


def _summary(forecasts: list[Forecast]) -> Finding:
    """How much stays, and how often the graph is cut."""
    leaving = [not forecast.on_neural_engine for forecast in forecasts]
    parts = sum(now and not before for before, now in zip([False, *leaving], leaving, strict=False))
    told = (
        f"{len(leaving) - sum(leaving)} of {len(leaving)} operations have a path on the Neural"
        f" Engine; {sum(leaving)} leave it, in {parts} places"
        if parts
        else f"all {len(leaving)} operations have a path on the Neural Engine"
    )
    return Finding(
        "apple/ane-forecast",
        "info",
        f"{told} (a forecast by rules, not measured on a device)",
    )
