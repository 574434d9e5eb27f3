"""What validation measured. Field names are those of `report.json`.

A value that was not measured is None, and `<block>.reason` says why.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgewise.findings import Finding


@dataclass(frozen=True, slots=True)
class Equivalence:
    """The artifact against the ONNX model it was emitted from, over `samples` inputs.

    `max_lsb` and `p99_lsb` are in steps of the output's scale (None for a float output);
    `argmax_agreement` is a share in 0..1 over the last axis of the first output (None for maps such
    as (1, 85, 22, 22)); `sqnr_db` is
    10 log10(signal power / error power), None when the outputs are identical (see `identical`).
    """

    max_lsb: float | None
    p99_lsb: float | None
    argmax_agreement: float | None
    sqnr_db: float | None
    max_abs_error: float | None
    identical: bool
    samples: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The user's metric for the fp32 hub model and the artifact; `drop = fp32 - artifact`, or
    `artifact - fp32` for a metric of which less is better.

    `ci95` is the 95 % interval of `drop` by paired bootstrap. Without labels, `metric` is None and
    the agreement figures stand alone.
    """

    metric: str | None
    fp32: float | None
    artifact: float | None
    drop: float | None
    ci95: tuple[float, float] | None
    samples: int
    sqnr_db: float | None = None
    cosine: float | None = None
    top1_agreement: float | None = None
    worst_sample: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds per inference, interleaved in blocks with the same target's fp32 artifact.

    `speedup = fp32_median_ms / median_ms`; `speedup_ci95` by bootstrap over blocks.
    """

    device: str
    threads: int
    median_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    fp32_median_ms: float | None
    speedup: float | None
    speedup_ci95: tuple[float, float] | None = None
    load_ms: float | None = None
    runs: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class BudgetResult:
    """One budget: `value` is None when it could not be measured, and then `ok` is False."""

    name: str
    limit: float
    value: float | None
    ok: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TargetResult:
    """Everything that was found out about one artifact."""

    target: str
    precision: str
    artifact: str
    size_bytes: int
    size_fp32_bytes: int | None
    equivalence: Equivalence
    accuracy: Accuracy
    latency: Latency
    findings: tuple[Finding, ...]
    budget: tuple[BudgetResult, ...]

    @property
    def ok(self) -> bool:
        return all(result.ok for result in self.budget)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
