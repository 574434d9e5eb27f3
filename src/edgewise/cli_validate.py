"""`edgewise validate`: a build's folder, or one artifact, measured once more."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgewise import stages
from edgewise.cli_commands import raise_missed, stage_project
from edgewise.cli_run import Terminal
from edgewise.config import Project
from edgewise.data import DataSource, input_specs, open_source
from edgewise.errors import UsageError
from edgewise.graph import load
from edgewise.pipeline import importable
from edgewise.plan import budget_of, image_preprocessing, metric_of
from edgewise.report import FORMAT, print_results, to_json
from edgewise.targets import TARGETS, Artifact
from edgewise.targets.manifest import load_artifact
from edgewise.targets.validation import Baseline, Metric, TargetResult

Values = dict[tuple[str, ...], Any]


def validate_command(
    terminal: Terminal,
    file: Path | None,
    values: Values,
    path: Path,
    hub: Path | None,
    reference: Path | None,
    device: str,
    *,
    json: bool,
) -> None:
    """Validate every artifact at `path`. Raises BudgetMissed after the result has been told."""
    project = stage_project(file, {("model", "source"): str(path), **values})
    artifacts = _artifacts(path)
    if reference is not None and len(artifacts) > 1:
        raise UsageError(
            "one reference cannot serve several artifacts",
            where="--reference",
            remedy="Validate one artifact at a time, or leave it out.",
        )
    with importable(project.folder):
        metric = metric_of(project.data)
        results = _validate(terminal, project, artifacts, hub, reference, device, metric)
    if json:
        targets = {name: result.as_dict() for name, result in results.items()}
        ok = all(result.ok for result in results.values())
        terminal.result().write(to_json({"format": FORMAT, "ok": ok, "targets": targets}))
    else:
        name = metric.name if metric is not None else None
        print_results(results, terminal.result(), metric=name, verbose=terminal.verbose)
    raise_missed(results)


def _artifacts(path: Path) -> list[Artifact]:
    """The artifacts of a build's folder, else the one that `path` is."""
    folders = [path / name for name in TARGETS if (path / name / "manifest.json").is_file()]
    return [load_artifact(folder) for folder in folders or [path]]


def _validate(
    terminal: Terminal,
    project: Project,
    artifacts: list[Artifact],
    hub: Path | None,
    reference: Path | None,
    device: str,
    metric: Metric | None,
) -> dict[str, TargetResult]:
    results = {}
    model = load(hub or artifacts[0].path.parent.parent / "stages" / stages.HUB)
    with ExitStack() as stack:
        source, baseline = _evaluation(project, model, metric, terminal), None
        if source is not None:
            baseline = stack.enter_context(
                Baseline.collect(
                    model,
                    source,
                    metric,
                    threads=stages.available_threads(),
                    progress=terminal.progress,
                )
            )
        for artifact in artifacts:
            results[artifact.target] = stages.validate(
                artifact,
                hub=model,
                reference=reference,
                evaluation=source,
                metric=metric,
                budget=budget_of(project.budget.for_target(artifact.target)),
                device=device,
                threads=project.latency.threads,
                profile=project.latency.profile,
                baseline=baseline,
                progress=terminal.progress,
            )
    return results


def _evaluation(
    project: Project, hub: ir.Model, metric: Metric | None, terminal: Terminal
) -> DataSource | None:
    if project.data.evaluation is None:
        return None
    terminal.progress.step("open data")
    return open_source(
        project.data.evaluation,
        inputs=input_specs(hub),
        image=image_preprocessing(project.data.image),
        limit=project.data.limit,
        require_labels=metric is not None,
    )
