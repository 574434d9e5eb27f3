"""What validation measured. Field names are those of `report.json`.

A value that was not measured is None, and `<block>.reason` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgewise.findings import Finding
from edgewise.targets.base import LOCAL

#: ratio from which on a part counts as slower than that of the fp32 file
SLOWER = 1.1


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """ONNX Runtime against itself on the QDQ model, fused against unfused: how far two faithful
    ways to round the same arithmetic are apart in its outputs. None where there is no figure."""

    max_lsb: float | None
    p99_lsb: float | None
    argmax_agreement: float | None
    samples: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Layers:
    """The artifact layer by layer, each fed with the QDQ model's own integers.

    `max_lsb` and `p99_lsb` are the largest of any layer, `different` the share of all elements that
    are not equal (0..1). `beyond` counts the layers above their limit, and `worst` names the node
    that is furthest above its limit, or least below it.
    """

    max_lsb: float | None
    p99_lsb: float | None
    different: float | None
    beyond: int
    worst: str | None
    layers: int
    samples: int
    reason: str | None = None

    @classmethod
    def not_measured(cls, reason: str) -> Layers:
        return cls(None, None, None, 0, None, 0, 0, reason)


@dataclass(frozen=True, slots=True)
class Equivalence:
    """The artifact against the ONNX model it was emitted from, over `samples` inputs.

    `max_lsb` and `p99_lsb` are in steps of the output's scale (None for a float output);
    `argmax_agreement` is a share in 0..1 over the last axis of the first output (None for maps such
    as (1, 85, 22, 22)); `sqnr_db` is
    10 log10(signal power / error power), None when the outputs are identical (see `identical`).
    `floor` is what the outputs are judged by, `layers` what the layers are; None for float models.
    `bits` are the fewest that a quantized output has.
    """

    max_lsb: float | None
    p99_lsb: float | None
    argmax_agreement: float | None
    sqnr_db: float | None
    max_abs_error: float | None
    identical: bool
    samples: int
    reason: str | None = None
    floor: NoiseFloor | None = None
    layers: Layers | None = None
    bits: int | None = None


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
class Instructions:
    """ARM64 instructions of one inference at one thread, counted under emulation: the fewest of
    `runs`. They are no time: caches, bandwidth and issue width are not in them.

    `by_class` splits `total`; `ratio = total / fp32_total`; `runtime` is the name and
    version of what ran.
    """

    device: str
    total: int | None
    by_class: Mapping[str, int]
    fp32_total: int | None
    ratio: float | None
    runs: int
    reason: str | None = None
    runtime: str | None = None

    @classmethod
    def not_counted(cls, device: str, reason: str) -> Instructions:
        return cls(device, None, {}, None, None, 0, reason)


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What a device says of itself, before and after the runs; None where it does not tell.

    Temperatures are in degrees Celsius, `load` is the one-minute average.
    """

    description: str
    machine: str | None = None  # as uname -m
    model: str | None = None
    cpu: str | None = None
    cores: int | None = None
    features: tuple[str, ...] = ()
    system: str | None = None
    runtime: str | None = None  # name and version
    governor: str | None = None
    load: float | None = None
    temperature_before_c: float | None = None
    temperature_after_c: float | None = None


@dataclass(frozen=True, slots=True)
class DelegateOperator:
    """One row of `benchmark_model`'s table of operators: average of a run, and its share (0..1)."""

    kind: str
    name: str
    ms: float
    share: float
    times_called: int


@dataclass(frozen=True, slots=True)
class DelegateLatency:
    """One run of LiteRT's native `benchmark_model` on a phone, on random inputs.

    `delegate` is what was asked for (`cpu`, `xnnpack`, `gpu`, `nnapi`). `applied` is what the tool
    said of it: `completely` or `partially` (then in so many `kernels`), or `not` at all; None
    without a delegate. Where it was not applied, times are those of the CPU, and are None with the
    reason. `memory_mb` is what the whole run added.
    """

    delegate: str
    threads: int
    applied: str | None = None
    kernels: int | None = None
    median_ms: float | None = None
    average_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    p5_ms: float | None = None
    p95_ms: float | None = None
    init_ms: float | None = None
    first_ms: float | None = None
    warmup_ms: float | None = None
    runs: int = 0
    memory_mb: float | None = None
    operators: tuple[DelegateOperator, ...] = ()
    reason: str | None = None

    @classmethod
    def not_measured(cls, delegate: str, threads: int, reason: str) -> DelegateLatency:
        return cls(delegate, threads, reason=reason)


@dataclass(frozen=True, slots=True)
class ProfilePart:
    """One part: the tensor that it computes, and what with. `share` is that of all parts (0..1);
    `fp32_ms` is None where the fp32 file has no such part."""

    tensor: str
    operators: tuple[str, ...]
    ms: float
    share: float
    fp32_ms: float | None

    @property
    def is_slower(self) -> bool:
        """Than the fp32 file, by more than two timings of one thing differ."""
        return self.fp32_ms is not None and self.ms > SLOWER * self.fp32_ms


@dataclass(frozen=True, slots=True)
class Profile:
    """Where the time goes, the largest part first. `method` says how parts were timed; beside their
    sum, `whole_ms` is the median of the whole artifact from `latency`.

    `lost_ms` is what the parts that are slower than in fp32 take more than there.
    """

    parts: tuple[ProfilePart, ...]
    sum_ms: float | None
    fp32_sum_ms: float | None
    whole_ms: float | None
    lost_ms: float | None
    method: str | None
    reason: str | None = None

    @classmethod
    def not_measured(cls, reason: str) -> Profile:
        return cls((), None, None, None, None, None, reason)

    @property
    def slower(self) -> tuple[ProfilePart, ...]:
        return tuple(part for part in self.parts if part.is_slower)


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
    #: None where nobody asked for it
    profile: Profile | None = None
    #: as the user named it
    device: str = LOCAL
    #: None for this machine
    facts: DeviceFacts | None = None
    instructions: Instructions | None = None
    #: by the vendor's native tool, where the user gave it; one per delegate
    delegates: tuple[DelegateLatency, ...] = ()

    @property
    def ok(self) -> bool:
        return all(result.ok for result in self.budget)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
