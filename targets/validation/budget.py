"""Budgets: the user's limits, and whether an artifact keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from edgewise.errors import UsageError
from edgewise.targets.validation.instruction_baseline import DEFAULT_RISE, Rise
from edgewise.targets.validation.results import (
    Accuracy,
    BudgetResult,
    Instructions,
    Latency,
    TargetResult,
)

#: "MB" in budgets is the SI unit
BYTES_PER_MB = 1_000_000
#: budgets on what some kinds of devices cannot measure, and others can
_OF_SOME_DEVICES = ("max_latency_ms", "min_speedup", "max_instructions")


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits, None where there is none.

    `accuracy_drop` and `min_accuracy` are in the unit of the metric (0.005 is half a point of
    top-1); `max_latency_ms` is on the median; `min_speedup` over the same target's fp32 file;
    `max_size_mb` in MB of 10^6 bytes; `max_instructions` on the count of one inference;
    `max_instructions_rise` the share by which that may be above an earlier report's, which is
    judged where there is one. Raises UsageError for a limit that is NaN.
    """

    accuracy_drop: float | None = None
    min_accuracy: float | None = None
    max_latency_ms: float | None = None
    min_speedup: float | None = None
    max_size_mb: float | None = None
    max_instructions: float | None = None
    max_instructions_rise: float | None = None

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            limit = getattr(self, name)
            if limit is not None and limit != limit:
                raise UsageError(f"budget '{name}' is not a number")


def check_budget(
    budget: Budget,
    *,
    accuracy: Accuracy,
    latency: Latency,
    size_bytes: int,
    instructions: Instructions | None = None,
    rise: Rise | None = None,
) -> tuple[BudgetResult, ...]:
    """One result per limit that is set, in the order of the fields.

    A value that was not measured does not keep its budget; the reason says why it is missing. A
    `rise` has a limit without the user's, and no result where there is none.
    """
    allowed = budget.max_instructions_rise
    limits = replace(
        budget,
        max_instructions_rise=None
        if rise is None
        else (DEFAULT_RISE if allowed is None else allowed),
    )
    value_and_reason = {
        "accuracy_drop": (accuracy.drop, accuracy.reason),
        "min_accuracy": (accuracy.artifact, accuracy.reason),
        "max_latency_ms": (latency.median_ms, latency.reason),
        "min_speedup": (latency.speedup, latency.reason),
        "max_size_mb": (size_bytes / BYTES_PER_MB, None),
        "max_instructions": _count(instructions),
        "max_instructions_rise": (None, None) if rise is None else (rise.value, rise.reason),
    }
    return tuple(
        _judge(field.name, limit, *value_and_reason[field.name])
        for field in fields(limits)
        if (limit := getattr(limits, field.name)) is not None
    )


def keeps_accuracy(budget: Budget, *, value: float, drop: float) -> bool:
    """Whether a metric's value, and its drop against fp32, keep the limits on accuracy."""
    limits = {
        "accuracy_drop": (budget.accuracy_drop, drop),
        "min_accuracy": (budget.min_accuracy, value),
    }
    return all(
        _judge(name, limit, found, None).ok
        for name, (limit, found) in limits.items()
        if limit is not None
    )


def _count(instructions: Instructions | None) -> tuple[float | None, str | None]:
    return (None, None) if instructions is None else (instructions.total, instructions.reason)


def judge_together(results: Mapping[str, TargetResult]) -> dict[str, TargetResult]:
    """The results of several devices, each with the budgets that are judged there.

    A budget on latency or instructions is judged on every device that can measure it, and missed
    where none of the target's devices can: an emulated core does not fail what a board meets. All
    others, accuracy and size among them, are judged on every device.
    """
    measured = {
        (result.target, row.name)
        for result in results.values()
        for row in result.budget
        if row.value is not None
    }
    return {
        key: replace(
            result,
            budget=tuple(
                row
                for row in result.budget
                if row.value is not None
                or row.name not in _OF_SOME_DEVICES
                or (result.target, row.name) not in measured
            ),
        )
        for key, result in results.items()
    }


def _judge(name: str, limit: float, value: float | None, reason: str | None) -> BudgetResult:
    if value is None:
        return BudgetResult(name, limit, None, False, reason or "it was not measured")
    # A tolerance of float64 rounding: 0.994 - 0.989 is a little more than 0.005.
    slack = 1e-9 * max(abs(limit), abs(value))
    ok = value >= limit - slack if name.startswith("min_") else value <= limit + slack
    return BudgetResult(name, limit, value, ok)
