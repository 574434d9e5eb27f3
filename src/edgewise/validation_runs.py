"""Artifacts validated on several devices: what to run where, and the results by name.

A result is named after its target where the device is the first one that was named for it, else
`<target>@<device>`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from edgewise.data import DataSource
from edgewise.data.shared import SharedSource
from edgewise.on_devices import Job, Outcome, run_jobs
from edgewise.progress import Progress
from edgewise.stages import available_threads
from edgewise.targets import Artifact
from edgewise.targets.validation import (
    Baseline,
    Budget,
    InstructionBaseline,
    Metric,
    TargetResult,
    judge_together,
)
from edgewise.targets.validation import validate as validate_artifact
from edgewise.targets.validation.devices import ResolvedDevice


@dataclass(frozen=True, slots=True)
class Candidate:
    """An artifact with what it is compared with, its limits, and the devices that run it."""

    artifact: Artifact
    reference: ir.Model
    fp32: Artifact | None
    budget: Budget
    devices: tuple[ResolvedDevice, ...]


@dataclass(frozen=True, slots=True)
class Terms:
    """What validation is to do, the same on every device.

    `threads` is None where the user leaves it to the devices.
    """

    hub: ir.Model
    source: DataSource | None
    fallback: DataSource | None
    metric: Metric | None
    baseline: Baseline | None
    threads: int | None
    profile: bool
    instructions: bool
    earlier: InstructionBaseline | None


def validate_candidates(
    candidates: Sequence[Candidate], terms: Terms, progress: Progress
) -> Outcome[TargetResult]:
    """Every artifact on every one of its devices. Raises as `edgewise.validate`, but for the
    DeviceErrors of single devices."""
    shared = _shared(terms)
    jobs = [
        Job(
            result_key(candidate, device),
            device,
            _job(candidate, device, shared),
        )
        for candidate in candidates
        for device in candidate.devices
    ]
    outcome = run_jobs(jobs, progress)
    outcome.results = judge_together(outcome.results)
    return outcome


def result_key(candidate: Candidate, device: ResolvedDevice) -> str:
    """`android`, or `android@pi` where `pi` is not the first of its devices."""
    target = candidate.artifact.target
    return target if device == candidate.devices[0] else f"{target}@{device.text}"


def threads_on(device: ResolvedDevice, asked: int | None) -> int:
    """What the user asks for, else what the named device has, else one."""
    return asked or device.threads or 1


def _job(
    candidate: Candidate, device: ResolvedDevice, terms: Terms
) -> Callable[[Progress], TargetResult]:
    def run(progress: Progress) -> TargetResult:
        progress.step(f"validation {candidate.artifact.target}")
        return validate_artifact(
            candidate.artifact,
            reference=candidate.reference,
            hub=terms.hub,
            fp32_artifact=candidate.fp32,
            source=terms.source,
            fallback=terms.fallback,
            metric=terms.metric,
            budget=candidate.budget,
            device=device.text,
            threads=threads_on(device, terms.threads),
            reference_threads=available_threads(),
            baseline=terms.baseline,
            profile=terms.profile,
            instructions=terms.instructions,
            earlier=terms.earlier,
            progress=progress,
        )

    return run


def _shared(terms: Terms) -> Terms:
    """The same with data that several threads may walk."""
    source = None if terms.source is None else SharedSource(terms.source)
    return replace(
        terms,
        source=source,
        fallback=None if terms.fallback is None else SharedSource(terms.fallback),
        baseline=None
        if terms.baseline is None or source is None
        else replace(terms.baseline, source=source),
    )
