"""Budgets of an artifact that was validated on several devices."""

from __future__ import annotations

from edgewise.targets.validation import (
    Accuracy,
    BudgetResult,
    Equivalence,
    Latency,
    TargetResult,
    judge_together,
)

UNMEASURED = "emulated instructions take another time"


def result(target: str, device: str, *rows: BudgetResult) -> TargetResult:
    return TargetResult(
        target=target,
        precision="w8a8",
        artifact=f"{target}/x",
        size_bytes=1,
        size_fp32_bytes=None,
        equivalence=Equivalence(None, None, None, None, None, False, 0, reason="no data"),
        accuracy=Accuracy(None, None, None, None, None, 0, reason="no data"),
        latency=Latency(device, 1, None, None, None, None, None, reason=UNMEASURED),
        findings=(),
        budget=rows,
        device=device,
    )


def measured(name: str, value: float, *, ok: bool = True) -> BudgetResult:
    return BudgetResult(name, 5.0, value, ok)


def missing(name: str) -> BudgetResult:
    return BudgetResult(name, 5.0, None, False, UNMEASURED)


def judged(*results: TargetResult) -> dict[str, tuple[tuple[str, bool], ...]]:
    found = judge_together({f"{r.target}@{r.device}": r for r in results})
    return {key: tuple((row.name, row.ok) for row in r.budget) for key, r in found.items()}


def test_an_emulated_core_does_not_fail_what_a_board_meets() -> None:
    rows = judged(
        result("arm", "core", missing("max_latency_ms"), missing("min_speedup")),
        result("arm", "pi", measured("max_latency_ms", 4.0), measured("min_speedup", 6.0)),
    )
    assert rows == {"arm@core": (), "arm@pi": (("max_latency_ms", True), ("min_speedup", True))}


def test_every_device_that_measures_is_judged() -> None:
    rows = judged(
        result("arm", "pi", measured("max_latency_ms", 4.0)),
        result("arm", "phone", measured("max_latency_ms", 6.0, ok=False)),
    )
    assert rows == {
        "arm@pi": (("max_latency_ms", True),),
        "arm@phone": (("max_latency_ms", False),),
    }


def test_what_none_can_measure_is_missed_on_all() -> None:
    rows = judged(
        result("arm", "core", missing("max_latency_ms")),
        result("arm", "max", missing("max_latency_ms")),
    )
    assert set(rows.values()) == {(("max_latency_ms", False),)}


def test_another_targets_measurement_does_not_count() -> None:
    rows = judged(
        result("arm", "core", missing("max_latency_ms")),
        result("android", "pi", measured("max_latency_ms", 4.0)),
    )
    assert rows["arm@core"] == (("max_latency_ms", False),)


def test_accuracy_and_size_are_judged_everywhere() -> None:
    rows = judged(
        result("arm", "core", missing("accuracy_drop"), measured("max_size_mb", 6.0, ok=False)),
        result("arm", "pi", measured("accuracy_drop", 0.0), measured("max_size_mb", 6.0, ok=False)),
    )
    assert rows["arm@core"] == (("accuracy_drop", False), ("max_size_mb", False))
    assert rows["arm@pi"] == (("accuracy_drop", True), ("max_size_mb", False))
