"""`edgewise validate`: a build's folder, or one artifact, measured once more on any devices."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgewise import stages
from edgewise.cli_commands import raise_missed, stage_project
from edgewise.cli_run import Terminal
from edgewise.config import Project
from edgewise.config_file import refuse_unknown_targets
from edgewise.data import DataSource
from edgewise.errors import DeviceError, UsageError
from edgewise.graph import load
from edgewise.hub_data import open_for
from edgewise.on_devices import Outcome
from edgewise.pipeline import importable
from edgewise.plan import (
    budget_of,
    data_settings,
    devices_of,
    earlier_counts,
    metric_of,
)
from edgewise.report import FORMAT, print_results, to_json
from edgewise.targets import TARGETS, Artifact
from edgewise.targets.manifest import load_artifact
from edgewise.targets.validation import Baseline, Metric, TargetResult
from edgewise.targets.validation.devices import ResolvedDevice, chosen, runs
from edgewise.validation_runs import Candidate, Terms, validate_candidates

Values = dict[tuple[str, ...], Any]


@dataclass(frozen=True, slots=True)
class _Choice:
    """The artifacts with the devices of each, and why others are left out, by target."""

    devices: dict[str, tuple[ResolvedDevice, ...]]
    artifacts: tuple[Artifact, ...]
    skipped: dict[str, str]


def validate_command(
    terminal: Terminal,
    file: Path | None,
    values: Values,
    path: Path,
    models: tuple[Path | None, Path | None],
    devices: Sequence[str] | None,
    targets: Sequence[str] | None,
    *,
    json: bool,
) -> None:
    """Validate the artifacts at `path`; `models` are the hub model and the reference.

    Raises DeviceError for devices that failed, else BudgetMissed, after the results of all others
    have been told.
    """
    project = stage_project(file, {("model", "source"): str(path), **values})
    choice = _choose(project, _artifacts(path, targets), devices)
    if models[1] is not None and len(choice.artifacts) > 1:
        raise UsageError(
            "one reference cannot serve several artifacts",
            where="--reference",
            remedy="Validate one artifact at a time, or leave it out.",
        )
    with importable(project.folder):
        metric = metric_of(project.data)
        outcome = _validate(terminal, project, choice, models, metric)
    if not outcome.results:
        outcome.raise_failures()
    _tell(terminal, outcome, choice.skipped, metric, json=json)
    outcome.raise_failures()
    raise_missed(outcome.results)


def _tell(
    terminal: Terminal,
    outcome: Outcome[TargetResult],
    skipped: dict[str, str],
    metric: Metric | None,
    *,
    json: bool,
) -> None:
    results = outcome.results
    stream = terminal.result()
    if json:
        document = {
            "format": FORMAT,
            "ok": not outcome.failures and all(result.ok for result in results.values()),
            "targets": {name: result.as_dict() for name, result in results.items()},
            "failed": {device: str(error) for device, error in outcome.failures.items()},
            "skipped": skipped,
        }
        stream.write(to_json(document))
        return
    name = metric.name if metric is not None else None
    print_results(results, stream, metric=name, verbose=terminal.verbose)
    for target, why in skipped.items():
        stream.write(f"{target} was not validated: {why}\n")


def _artifacts(path: Path, targets: Sequence[str] | None) -> list[Artifact]:
    """The artifacts of a build's folder, else the one that `path` is; those of `targets`."""
    refuse_unknown_targets(targets or ())
    folders = [path / name for name in TARGETS if (path / name / "manifest.json").is_file()]
    found = [load_artifact(folder) for folder in folders or [path]]
    wanted = [artifact for artifact in found if not targets or artifact.target in targets]
    missing = set(targets or ()) - {artifact.target for artifact in wanted}
    if missing:
        raise UsageError(
            f"there is no artifact for {', '.join(sorted(missing))}",
            where=str(path),
            why=f"it holds {', '.join(artifact.target for artifact in found)}",
            remedy="Leave --target out, or build that target first.",
        )
    return wanted


def _choose(
    project: Project, artifacts: Sequence[Artifact], texts: Sequence[str] | None
) -> _Choice:
    """Raises DeviceError where no device runs any of the artifacts."""
    named = chosen(texts or ())
    fitting, skipped = {}, {}
    for artifact in artifacts:
        target = artifact.target
        if named and not any(runs(device, target) for device in named):
            listed = ", ".join(device.text for device in named)
            skipped[target] = f"it does not run on {listed}"
        else:
            fitting[target] = devices_of(project, target, named)
    if not fitting:
        raise DeviceError(
            f"no artifact for {', '.join(skipped)} runs there",
            where=f"--on {', '.join(device.text for device in named)}",
            remedy="A Mac runs apple; cores, boards and phones run android and arm; local runs "
            "all of them.",
        )
    chosen_artifacts = tuple(a for a in artifacts if a.target in fitting)
    return _Choice(fitting, chosen_artifacts, skipped)


def _validate(
    terminal: Terminal,
    project: Project,
    choice: _Choice,
    models: tuple[Path | None, Path | None],
    metric: Metric | None,
) -> Outcome[TargetResult]:
    folder = choice.artifacts[0].path.parent.parent / "stages"
    devices = [device for group in choice.devices.values() for device in group]
    earlier = earlier_counts(project.latency, devices)
    hub = load(models[0] or folder / stages.HUB)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgewise-")))
        source, baseline = _evaluation(project, hub, metric, terminal), None
        if source is not None:
            baseline = stack.enter_context(
                Baseline.collect(
                    hub,
                    source,
                    metric,
                    threads=stages.available_threads(),
                    progress=terminal.progress,
                )
            )
        candidates = []
        for artifact in choice.artifacts:
            terminal.progress.step(f"emit {artifact.target} fp32 to compare with")
            own = artifact.path.parent.parent / "stages"
            candidates.append(
                Candidate(
                    artifact,
                    stages.reference_of(artifact, hub, models[1], own),
                    stages.emit_fp32(artifact, hub, scratch),
                    budget_of(project.budget.for_target(artifact.target)),
                    choice.devices[artifact.target],
                )
            )
        latency = project.latency
        terms = Terms(
            hub,
            source,
            None,
            metric,
            baseline,
            latency.threads,
            latency.profile,
            latency.instructions,
            earlier,
        )
        return validate_candidates(candidates, terms, terminal.progress)


def _evaluation(
    project: Project, hub: ir.Model, metric: Metric | None, terminal: Terminal
) -> DataSource | None:
    if project.data.evaluation is None:
        return None
    terminal.progress.step("open data")
    return open_for(
        hub,
        project.data.evaluation,
        data_settings(project.data),
        limit=project.data.limit,
        require_labels=metric is not None,
    )
