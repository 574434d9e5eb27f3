"""Everything about one artifact: equivalence, accuracy, latency, size, and the budgets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import onnx_ir as ir

import edgewise.targets
from edgewise.data.source import Array, DataSource, Sample
from edgewise.errors import ModelError, UsageError
from edgewise.findings import Finding
from edgewise.graph import is_quantized_model, load
from edgewise.progress import SILENT, Progress
from edgewise.targets.base import Artifact, BatchSession, Manifest, Session, Target
from edgewise.targets.device_checks import DeviceCheckingTarget
from edgewise.targets.layerwise import LayerwiseTarget
from edgewise.targets.manifest import load_artifact
from edgewise.targets.validation import accuracy as accuracies
from edgewise.targets.validation import equivalence as equivalences
from edgewise.targets.validation import layers as layerwise
from edgewise.targets.validation.baseline import Baseline
from edgewise.targets.validation.budget import Budget, check_budget
from edgewise.targets.validation.comparison import Comparison, EquivalenceLimit
from edgewise.targets.validation.delegates import time_delegates
from edgewise.targets.validation.devices import DeviceSession, connected, has_runner
from edgewise.targets.validation.instruction_baseline import InstructionBaseline, Rise
from edgewise.targets.validation.instructions import (
    NOT_ASKED_FOR,
    count_instructions,
    is_emulated,
)
from edgewise.targets.validation.latency import LatencyPlan, measure_latency, not_measured
from edgewise.targets.validation.metrics import Metric
from edgewise.targets.validation.profile import measure_profile, profile_findings
from edgewise.targets.validation.results import (
    Accuracy,
    DeviceFacts,
    Equivalence,
    Instructions,
    Latency,
    Layers,
    Profile,
    TargetResult,
)

_NO_BUDGET = Budget()
NO_EVALUATION_DATA = "no evaluation data"
#: examples that every layer is replayed on
_LAYER_SAMPLES = 2
_LAYERS_ARE_LOCAL = "only a validation on `local` does that"
#: examples that go to a device at once, at most, and bytes after which no more are added
_GROUP_SAMPLES, _GROUP_BYTES = 32, 16 << 20
#: a group that takes longer is followed by no larger one
_GROUP_SECONDS = 1.0


@runtime_checkable
class _Remarking(Protocol):
    """A session that has something to say about the figures measured through it."""

    findings: tuple[Finding, ...]


@runtime_checkable
class _Telling(Protocol):
    """A session on a device that says what it is."""

    facts: DeviceFacts


@dataclass(frozen=True, slots=True)
class _Walk:
    """What one walk over the data found out."""

    equivalence: Equivalence
    accuracy: Accuracy
    findings: tuple[Finding, ...]


def validate(
    artifact: Artifact | str | Path,
    *,
    reference: ir.Model | str | Path,
    hub: ir.Model | str | Path,
    fp32_artifact: Artifact | str | Path | None = None,
    source: DataSource | None = None,
    fallback: DataSource | None = None,
    metric: Metric | str | None = "top1",
    budget: Budget = _NO_BUDGET,
    device: str = "local",
    threads: int = 1,
    reference_threads: int = 1,
    baseline: Baseline | None = None,
    equivalence_limit: EquivalenceLimit | None = None,
    latency_plan: LatencyPlan | None = None,
    profile: bool = False,
    instructions: bool = False,
    earlier: InstructionBaseline | None = None,
    progress: Progress = SILENT,
) -> TargetResult:
    """Measure an artifact as it lies on disk.

    Args:
        reference: the model it was emitted from (QDQ, or the hub model for float precisions).
        hub: the fp32 hub model, for accuracy.
        fp32_artifact: the same target's fp32 file, for speed-up and compression.
        source: evaluation data, walked once; labels are optional.
        fallback: walked for equivalence where there is no `source`, such as calibration data.
        metric: a name, a metric, or None; ignored where the data has no labels.
        baseline: the hub model's results on `source` with `metric`, when they exist already; one
            baseline serves every target.
        profile: time the parts of the artifact, too, beside those of the fp32 file.
        instructions: count those of an inference, which a budget on them and `earlier` do as well.
        earlier: counts that those of an emulated device are compared with.
        threads: of the artifact; `reference_threads` of the ONNX models it is compared with.

    Returns:
        The figures; what could not be measured is None, with the reason.

    Raises:
        DataError: the data cannot be read, or a label does not fit.
        DeviceError: the device is unavailable or fails.
        ModelError: a model or the artifact cannot be read or run.
        UsageError: an unknown metric, or one that does not fit; a baseline of other data;
            `min_accuracy` with a metric of which less is better.
    """
    known = artifact if isinstance(artifact, Artifact) else load_artifact(artifact)
    fp32 = load_artifact(fp32_artifact) if isinstance(fp32_artifact, str | Path) else fp32_artifact
    target = edgewise.targets.get(known.target)
    data = fallback if source is None else source
    with ExitStack() as stack:
        if has_runner(device):
            stack.enter_context(connected(device))
        if source is not None:
            if baseline is None:
                collected = Baseline.collect(
                    hub, source, metric, threads=reference_threads, progress=progress
                )
                baseline = stack.enter_context(collected)
            baseline.check_fits(source, metric)
            _check_direction(budget, baseline.metric)
        session = stack.enter_context(closing(target.open(known, device, threads=threads)))
        walk = _walk(
            known,
            session,
            load(reference),
            data,
            baseline if source is not None else None,
            threads,
            reference_threads,
            equivalence_limit or EquivalenceLimit(),
            progress,
            f"validating {known.target}",
        )
        checked = _device_findings(target, known, device)
        feeds = _latency_feeds(data, known.manifest)
        latency, timed = _latency(
            session,
            lambda: target.open(known, device, threads=threads),
            None if fp32 is None else lambda: target.open(fp32, device, threads=threads),
            feeds,
            latency_plan,
            progress,
        )
        parts = None
        if profile:
            progress.step(f"Timing the parts of {known.target}")
            parts = measure_profile(
                target, known, fp32, feeds, latency, device=device, threads=threads
            )
        delegates = time_delegates(
            device, known, threads=threads, profile=profile, progress=progress
        )
    counted = Instructions.not_counted(device, NOT_ASKED_FOR)
    if instructions or earlier is not None or budget.max_instructions is not None:
        counted = count_instructions(target, known, fp32, device, feeds, progress=progress)
    rise = None if earlier is None else _rise(earlier, known, counted, device)
    result = _result(known, fp32, walk, latency, parts, counted, rise, budget)
    findings = tuple(dict.fromkeys((*result.findings, *checked, *_remarks(timed))))
    facts = timed.facts if isinstance(timed, _Telling) else None
    return replace(result, device=device, facts=facts, findings=findings, delegates=delegates)


def _device_findings(target: Target, artifact: Artifact, device: str) -> tuple[Finding, ...]:
    if has_runner(device) and isinstance(target, DeviceCheckingTarget):
        return target.device_findings(artifact, device)
    return ()


def _latency(
    session: Session,
    open_artifact: Callable[[], Session],
    open_fp32: Callable[[], Session] | None,
    feeds: dict[str, Array],
    plan: LatencyPlan | None,
    progress: Progress,
) -> tuple[Latency, Session]:
    """The times, and the session that has remarks on them; nothing is opened where there are no
    times to take."""
    if session.latency_reason is not None:
        return not_measured(session.device, session.threads, session.latency_reason), session
    opened: list[Session] = []

    def open_once() -> Session:
        opened.append(open_artifact())
        return opened[0]

    latency = measure_latency(open_once, open_fp32, feeds, plan=plan, progress=progress)
    return latency, opened[0]


def _check_direction(budget: Budget, metric: Metric | None) -> None:
    if budget.min_accuracy is not None and metric is not None and not metric.higher_is_better:
        raise UsageError(
            "budget 'min_accuracy' needs a metric of which more is better",
            why=f"of {metric.name} less is better",
            remedy="Use accuracy_drop.",
        )


def _walk(
    known: Artifact,
    session: Session,
    reference: ir.Model,
    source: DataSource | None,
    baseline: Baseline | None,
    threads: int,
    reference_threads: int,
    limit: EquivalenceLimit,
    progress: Progress,
    label: str,
) -> _Walk:
    """The artifact runs once per example, for accuracy and equivalence together."""
    if source is None:
        return _Walk(
            equivalences.not_measured("no data"),
            accuracies.not_measured(NO_EVALUATION_DATA),
            _remarks(session),
        )
    comparison = Comparison(reference, reference_threads, limit)
    meter = None if baseline is None else accuracies.AccuracyMeter(baseline)
    samples = _enough(progress.track(source, label, len(source)), comparison, meter)
    for sample, outputs in _outputs(session, samples):
        comparison.observe(sample, outputs)
        if meter is not None:
            meter.observe(sample, outputs)
    layers, layer_findings = _layers(known, session, reference, source, threads)
    equivalence = comparison.result(layers)
    accuracy = accuracies.not_measured(NO_EVALUATION_DATA) if meter is None else meter.result()
    findings = (
        *_remarks(session),
        *layer_findings,
        *comparison.findings,
        *equivalences.equivalence_findings(equivalence),
    )
    return _Walk(equivalence, accuracy, findings)


def _outputs(
    session: Session, samples: Iterable[Sample]
) -> Iterator[tuple[Sample, dict[str, Array]]]:
    """What the artifact gives for each example; those of a session far away go in groups."""
    if not isinstance(session, BatchSession):
        for sample in samples:
            yield sample, session.run(sample.feeds)
        return
    for group in _groups(samples):
        outputs = session.run_many([sample.feeds for sample in group])
        yield from zip(group, outputs, strict=True)


def _groups(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Small first: the comparison may have enough of them soon, and a slow device shall show that
    it goes on."""
    iterator = iter(samples)
    size = 1
    while group := _group(iterator, size):
        began = time.monotonic()
        yield group
        if time.monotonic() - began < _GROUP_SECONDS:
            size = min(2 * size, _GROUP_SAMPLES)


def _group(samples: Iterator[Sample], most: int) -> list[Sample]:
    """So many of the next samples, or as many as have `_GROUP_BYTES`."""
    group: list[Sample] = []
    size = 0
    while len(group) < most and size < _GROUP_BYTES:
        sample = next(samples, None)
        if sample is None:
            break
        group.append(sample)
        size += sum(array.nbytes for array in sample.feeds.values())
    return group


def _remarks(session: Session) -> tuple[Finding, ...]:
    """Asked after the runs: some sessions tell how these went."""
    return session.findings if isinstance(session, _Remarking) else ()


def _layers(
    artifact: Artifact, session: Session, reference: ir.Model, source: DataSource, threads: int
) -> tuple[Layers | None, list[Finding]]:
    """The layers of the artifact on the first examples, where its target can take it apart."""
    target = edgewise.targets.get(artifact.target)
    if not isinstance(target, LayerwiseTarget) or not is_quantized_model(reference):
        return None, []
    if isinstance(session, DeviceSession):
        return Layers.not_measured(_LAYERS_ARE_LOCAL), []
    feeds = [sample.feeds for sample in islice(source, _LAYER_SAMPLES)]
    try:
        report = target.compare_layers(reference, artifact, feeds, threads=threads)
    except (ModelError, UsageError) as error:  # such as a file of another version
        return Layers.not_measured(error.what), []
    return layerwise.summary(report), layerwise.layer_findings(report)


def _enough(
    samples: Iterable[Sample], comparison: Comparison, meter: accuracies.AccuracyMeter | None
) -> Iterator[Sample]:
    """All samples where accuracy is measured, else as many as the comparison wants."""
    for sample in samples:
        if meter is None and comparison.done:
            return
        yield sample


def _latency_feeds(source: DataSource | None, manifest: Manifest) -> dict[str, Array]:
    """The first example, or normal noise of the inputs' shape where there is no data."""
    first = None if source is None else next(iter(source), None)
    if first is not None:
        return dict(first.feeds)
    generator = np.random.default_rng(0)
    feeds = {}
    for tensor in manifest.inputs:
        shape = [dim if isinstance(dim, int) else 1 for dim in tensor.hub_shape]
        feeds[tensor.name] = generator.standard_normal(shape).astype(np.dtype(tensor.hub_dtype))
    return feeds


def _rise(
    earlier: InstructionBaseline, artifact: Artifact, counted: Instructions, device: str
) -> Rise | None:
    """None where instructions cannot be counted, and so do not rise."""
    if not is_emulated(device):
        return None
    return earlier.rise_of(artifact.target, artifact.manifest.precision, counted)


def _result(
    artifact: Artifact,
    fp32: Artifact | None,
    walk: _Walk,
    latency: Latency,
    profile: Profile | None,
    instructions: Instructions,
    rise: Rise | None,
    budget: Budget,
) -> TargetResult:
    return TargetResult(
        target=artifact.target,
        precision=artifact.manifest.precision,
        artifact=str(artifact.path),
        size_bytes=artifact.size_bytes,
        size_fp32_bytes=None if fp32 is None else fp32.size_bytes,
        equivalence=walk.equivalence,
        accuracy=walk.accuracy,
        latency=latency,
        findings=(
            *artifact.findings,
            *walk.findings,
            *(() if profile is None else profile_findings(profile)),
        ),
        budget=check_budget(
            budget,
            accuracy=walk.accuracy,
            latency=latency,
            size_bytes=artifact.size_bytes,
            instructions=instructions,
            rise=rise,
        ),
        profile=profile,
        instructions=instructions,
    )
