"""`edgewise.build`: source model to validated artifacts, one stage after another.

export -> check -> calibrate once -> per target: quantize, check -> emit -> validate -> report.
Whatever a target refuses is told before anything is emitted; nothing reaches the output folder
before all of it is complete.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from edgewise import stages
from edgewise.calibration import Recipe, Statistics, collect_statistics
from edgewise.calibration.quantize import Quantized
from edgewise.config import Project
from edgewise.config_file import EVERY_TARGET, from_arguments, load_project
from edgewise.data import DataSource, ImagePreprocessing, peek
from edgewise.exporters import ExportResult, Shapes
from edgewise.exporters import export as export_model
from edgewise.exporters.parity import MOST_SAMPLES
from edgewise.findings import Finding
from edgewise.graph import save
from edgewise.hub_data import examples, for_application, open_for
from edgewise.labels import labels_for
from edgewise.on_devices import reach
from edgewise.output import OutputFolder
from edgewise.plan import (
    Plan,
    TargetPlan,
    check_calibration_data,
    make_plan,
    source_options,
)
from edgewise.progress import SILENT, Progress
from edgewise.refusals import raise_refusals
from edgewise.repairing import Float, repair_and_quantize
from edgewise.report import Report, render_page, to_json
from edgewise.report.gather import Gathered, make_report
from edgewise.search.building import Searches, Subject, find, remarks
from edgewise.search.summary import SearchSummary, summarize
from edgewise.targets import TARGETS, Artifact, EmitOptions
from edgewise.targets.validation import Baseline, Budget, TargetResult
from edgewise.validation_runs import Candidate, Terms, validate_candidates

if TYPE_CHECKING:
    from edgewise.exporters.pytorch import Module


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build found out, and where it lies. `ok` is whether all budgets were met."""

    report: Report
    out: Path

    @property
    def ok(self) -> bool:
        return self.report.ok


@dataclass(slots=True)
class _Build:
    """A build on its way: the plan, and what the stages have given so far."""

    plan: Plan
    folder: OutputFolder
    progress: Progress
    searches: Searches | None
    timings: dict[str, float] = field(default_factory=dict)
    remarks: dict[str, list[Finding]] = field(default_factory=dict)
    found: dict[str, SearchSummary] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Name the stage to the listener and take its time."""
        self.progress.step(name)
        start = time.perf_counter()
        yield
        self.timings[name] = round(time.perf_counter() - start, 3)


@dataclass(frozen=True, slots=True)
class _Data:
    """The opened sources; None where the project names none, or no stage needs it."""

    calibration: DataSource | None
    evaluation: DataSource | None


@dataclass(frozen=True, slots=True)
class _Work:
    """What the targets have in common from quantization on."""

    hub: ir.Model
    statistics: Statistics | None
    data: _Data
    options: Mapping[str, EmitOptions]
    baseline: Baseline | None


def build(
    source: str | Path | ir.Model | Module,
    *,
    calibration: str | Path | None = None,
    evaluation: str | Path | None = None,
    targets: Sequence[str] | None = None,
    precision: str | Mapping[str, str] | None = None,
    out: str | Path | None = None,
    name: str | None = None,
    input_shapes: Shapes | None = None,
    weights: str | Path | None = None,
    signature: str | None = None,
    task: str | None = None,
    exporter: str | None = None,
    allow_code: bool | None = None,
    metric: str | None = None,
    limit: int | None = None,
    image: ImagePreprocessing | None = None,
    method: str | None = None,
    percentile: float | None = None,
    weight_method: str | None = None,
    repairs: Sequence[str] | None = None,
    search_minutes: float | None = None,
    budget: Budget | None = None,
    devices: Sequence[str] | None = None,
    threads: int | None = None,
    profile: bool | None = None,
    instructions: bool | None = None,
    baseline: str | Path | None = None,
    progress: Progress = SILENT,
) -> BuildResult:
    """Build and validate artifacts; the same as `edgewise build`, and arguments win over the file.

    Args:
        source: a project file (`.toml`), or a model: a file or folder, `package.module:factory`,
            or a model object.
        calibration, evaluation: folder of pictures, labels CSV, `.npz`, `package.module:function`.
        targets: names; all targets by default.
        precision: for all targets, or by target; `w8a8` by default.
        out: folder of the result; `dist` by default.
        weights, signature, task, exporter, allow_code: see `edgewise.exporters.SourceOptions`.
        metric: `top1` by default; `none` compares outputs only, and needs no labels.
        limit: use at most this many samples of each source.
        method, percentile, weight_method: how ranges of activations and scales of weights are
            chosen; see docs/accuracy.md.
        repairs: what is done to the float model before it is quantized, by name and in order; see
            docs/accuracy.md.
        search_minutes: look that long for the fastest quantization that keeps the accuracy budget;
            not at all by default.
        budget: limits for all targets.
        devices: where artifacts are validated, for the targets that run there: `local`,
            `emulated:cortex-a53`, `ssh://user@host`, `adb:SERIAL`, `mac:user@host`, or names from
            `edgewise devices`; this machine by default.
        threads: while latency is measured; those of a named device by default, else one.
        profile: time the parts of each artifact, too.
        instructions: count those of an inference on emulated devices.
        baseline: an earlier `report.json`; its instruction counts must not be exceeded.

    Returns:
        The report. A missed budget is not an error here: see `BuildResult.ok`.

    Raises:
        UsageError: a wrong argument, project file or path, or a folder that cannot be written.
        ModelError: the model cannot be read, or a target cannot take it.
        DataError: the data cannot be read, or holds values that cannot be used.
        DeviceError: a device is unavailable, which is told before any work, or fails.
    """
    model = None if isinstance(source, str | Path) else source
    text = str(source) if model is None else type(source).__name__
    file = Path(text) if model is None and text.lower().endswith(".toml") else None
    chosen = {EVERY_TARGET: precision} if isinstance(precision, str) else precision or {}
    values: dict[tuple[str, ...], Any] = {
        ("model", "source"): text if file is None else None,
        ("model", "name"): name,
        ("model", "input_shapes"): input_shapes and {k: tuple(v) for k, v in input_shapes.items()},
        ("model", "weights"): None if weights is None else str(weights),
        ("model", "signature"): signature,
        ("model", "task"): task,
        ("model", "exporter"): exporter,
        ("model", "allow_code"): allow_code,
        ("data", "calibration"): None if calibration is None else str(calibration),
        ("data", "evaluation"): None if evaluation is None else str(evaluation),
        ("data", "metric"): metric,
        ("data", "limit"): limit,
        ("data", "image"): None if image is None else image.as_dict(),
        ("calibration", "method"): method,
        ("calibration", "percentile"): percentile,
        ("calibration", "weights"): weight_method,
        ("calibration", "repairs"): repairs,
        ("search", "max_minutes"): search_minutes,
        ("output", "dir"): None if out is None else str(out),
        ("latency", "threads"): threads,
        ("latency", "profile"): profile,
        ("latency", "instructions"): instructions,
        ("latency", "baseline"): None if baseline is None else str(baseline),
        **{("targets", target, "precision"): value for target, value in chosen.items()},
        **{("budget", key): getattr(budget, key) for key in Budget.__slots__ if budget is not None},
    }
    project = load_project(file, from_arguments(values), targets=targets)
    return build_project(project, model=model, devices=devices, progress=progress)


def build_project(
    project: Project,
    *,
    model: ir.Model | Module | None = None,
    devices: Sequence[str] | None = None,
    progress: Progress = SILENT,
) -> BuildResult:
    """Build what the project says; `model` stands in for its `source` when given, and `devices`
    for those of the targets that run there.

    Raises:
        EdgewiseError: see `build`.
    """
    with ExitStack() as stack:
        stack.enter_context(importable(project.folder))
        plan = make_plan(project, has_model=model is not None, devices=devices)
        reach([device for target in plan.targets for device in target.devices], progress)
        folder = stack.enter_context(OutputFolder(project.out_dir, tuple(TARGETS)))
        run = _Build(plan, folder, progress, Searches.of(plan))
        report = _run(run, model)
        folder.publish()
    return BuildResult(report, project.out_dir)


def _run(run: _Build, model: ir.Model | Module | None) -> Report:
    exported = _export(run, model)
    data = _open_data(run, exported.model)
    options = _emit_options(run, exported, data)
    hubs = {plan.name: exported.model for plan in run.plan.targets}
    _check(run, "check operators", hubs, options)
    statistics = _calibrate(run, exported.model, data)
    with ExitStack() as stack:
        baseline = _baseline(run, stack, exported.model, data)
        work = _Work(exported.model, statistics, data, options, baseline)
        models = {plan.name: _quantize(run, plan, work) for plan in run.plan.targets}
        _check(run, "check quantized operators", models, options)
        artifacts = _emit(run, models, options)
        results = _validate(run, models, artifacts, work)
    return _write_report(run, exported, statistics, data, results)


def _export(run: _Build, model: ir.Model | Module | None) -> ExportResult:
    project = run.plan.project
    spec = project.data.calibration or project.data.evaluation
    with run.stage("export"):
        first = peek(spec, image=run.plan.settings.image_alone)
        exported = export_model(
            project.model.source if model is None else model,
            options=replace(source_options(project), example=first),
            example=examples(spec, run.plan.settings, MOST_SAMPLES),
            progress=run.progress,
        )
        if not exported.ranges:
            check_calibration_data(run.plan)
        save(exported.model, run.folder.staging / "stages" / stages.HUB)
    return exported


def _open_data(run: _Build, hub: ir.Model) -> _Data:
    table = run.plan.project.data

    def open_data(spec: str | None, labels: bool) -> DataSource | None:
        if spec is None:
            return None
        settings = run.plan.settings
        return open_for(hub, spec, settings, limit=table.limit, require_labels=labels)

    with run.stage("open data"):
        return _Data(
            open_data(table.calibration, False),
            open_data(table.evaluation, run.plan.metric is not None),
        )


def _emit_options(run: _Build, exported: ExportResult, data: _Data) -> dict[str, EmitOptions]:
    """What each target is told beyond the graph."""
    file = run.plan.project.data.labels
    sources = (data.evaluation, data.calibration)
    labels = labels_for(exported.model, file, sources, told=exported.labels)
    preprocessing, beside = for_application(exported.model, run.plan.settings)
    return {
        plan.name: EmitOptions(
            run.plan.name, labels, preprocessing, plan.options, run.plan.about, beside
        )
        for plan in run.plan.targets
    }


def _check(
    run: _Build,
    stage: str,
    models: Mapping[str, ir.Model],
    options: Mapping[str, EmitOptions],
) -> None:
    """All problems of all targets in one error."""
    with run.stage(stage):
        findings = {
            plan.name: plan.target.check(
                models[plan.name], plan.precision, options=options[plan.name]
            )
            for plan in run.plan.targets
        }
        raise_refusals(findings, models)


def _calibrate(run: _Build, hub: ir.Model, data: _Data) -> Statistics | None:
    if not run.plan.quantizes or data.calibration is None:
        return None
    with run.stage("calibration"):
        statistics = collect_statistics(
            hub, data.calibration, threads=stages.available_threads(), progress=run.progress
        )
        statistics.save(run.folder.staging / "stages" / stages.STATISTICS)
    return statistics


def _baseline(run: _Build, stack: ExitStack, hub: ir.Model, data: _Data) -> Baseline | None:
    """What the fp32 hub model gives on the evaluation data, which searches and validation share."""
    if data.evaluation is None:
        return None
    with run.stage("validation fp32"):
        collected = Baseline.collect(
            hub,
            data.evaluation,
            run.plan.metric,
            threads=stages.available_threads(),
            progress=run.progress,
        )
        return stack.enter_context(collected)


def _quantize(run: _Build, plan: TargetPlan, work: _Work) -> ir.Model:
    """The QDQ model of the target; the hub model where its precision is a float one."""
    if not plan.scheme.is_quantized:
        return work.hub
    table = run.plan.project.calibration
    recipe = Recipe(
        method=table.method,
        percentile=table.percentile,
        weights=table.weights,
        repairs=table.repairs,
    )
    with run.stage(f"quantize {plan.name}"):
        quantized = _search(run, plan, work, recipe)
        if quantized is None:
            start = Float(
                work.hub, work.statistics, work.data.calibration, stages.available_threads()
            )
            quantized = repair_and_quantize(start, plan.scheme, recipe)
        save(quantized.model, run.folder.staging / "stages" / stages.qdq_name(plan.name))
    run.remarks.setdefault(plan.name, []).extend(quantized.findings)
    return quantized.model


def _search(run: _Build, plan: TargetPlan, work: _Work, start: Recipe) -> Quantized | None:
    """What a search finds, starting from the recipe that the project asks for; None without."""
    data = work.data
    if run.searches is None or not run.searches.serves(plan):
        return None
    if work.statistics is None or data.calibration is None or work.baseline is None:
        return None
    found = find(
        run.searches,
        plan,
        Subject(
            hub=work.hub,
            statistics=work.statistics,
            calibration=data.calibration,
            baseline=work.baseline,
            options=work.options[plan.name],
            scratch=run.folder.scratch,
            threads=stages.available_threads(),
        ),
        start,
        run.progress,
    )
    run.found[plan.name] = summarize(found)
    run.remarks[plan.name] = list(remarks(found, plan.budget.accuracy_drop))
    return found.quantized


def _emit(
    run: _Build, models: Mapping[str, ir.Model], options: Mapping[str, EmitOptions]
) -> dict[str, Artifact]:
    artifacts = {}
    for plan in run.plan.targets:
        with run.stage(f"emit {plan.name}"):
            artifacts[plan.name] = plan.target.emit(
                models[plan.name],
                run.folder.staging / plan.name,
                plan.precision,
                options=options[plan.name],
            )
    return artifacts


def _validate(
    run: _Build,
    models: Mapping[str, ir.Model],
    artifacts: Mapping[str, Artifact],
    work: _Work,
) -> dict[str, TargetResult]:
    candidates = []
    for plan in run.plan.targets:
        with run.stage(f"emit {plan.name} fp32"):
            fp32 = stages.emit_fp32(artifacts[plan.name], work.hub, run.folder.scratch)
        candidates.append(
            Candidate(artifacts[plan.name], models[plan.name], fp32, plan.budget, plan.devices)
        )
    latency = run.plan.project.latency
    terms = Terms(
        hub=work.hub,
        source=work.data.evaluation,
        fallback=work.data.calibration,
        metric=run.plan.metric,
        baseline=work.baseline,
        threads=latency.threads,
        profile=latency.profile,
        instructions=latency.instructions,
        earlier=run.plan.earlier,
    )
    outcome = validate_candidates(candidates, terms, run.progress)
    outcome.raise_failures()
    run.timings.update({f"validation {key}": took for key, took in outcome.seconds.items()})
    return {
        key: _in_dist(result, artifacts[result.target], run.remarks)
        for key, result in outcome.results.items()
    }


def _in_dist(
    result: TargetResult, artifact: Artifact, remarks: Mapping[str, Sequence[Finding]]
) -> TargetResult:
    """The result with its path as it will lie, and with what quantization remarked."""
    findings = dict.fromkeys((*remarks.get(result.target, ()), *result.findings))
    path = f"{result.target}/{artifact.path.name}"
    return replace(result, artifact=path, findings=tuple(findings))


def _write_report(
    run: _Build,
    exported: ExportResult,
    statistics: Statistics | None,
    data: _Data,
    results: Mapping[str, TargetResult],
) -> Report:
    report = make_report(
        Gathered(
            plan=run.plan,
            exported=exported,
            statistics=statistics,
            calibration=data.calibration,
            evaluation=data.evaluation,
            results=results,
            timings=run.timings,
            folder=run.folder.staging,
            searches=run.found,
        )
    )
    (run.folder.staging / "report.json").write_text(to_json(report.as_dict()), encoding="utf-8")
    (run.folder.staging / "report.html").write_text(render_page(report), encoding="utf-8")
    return report


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Modules that the project names may lie beside the project file."""
    path = str(folder.absolute())
    sys.path.insert(0, path)
    try:
        yield
    finally:
        if path in sys.path:
            sys.path.remove(path)
