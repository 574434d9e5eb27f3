"""What `edgewise diagnose` does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from edgewise import stages
from edgewise.calibration.output_error import Measure
from edgewise.cli_commands import stage_project
from edgewise.cli_run import Terminal
from edgewise.cli_values import Values
from edgewise.config import Project
from edgewise.config_file import refuse_unknown_targets
from edgewise.data.source import DataSource
from edgewise.diagnosis.diagnose import DEFAULT_SAMPLES, DEFAULT_TOP, diagnose
from edgewise.diagnosis.document import Diagnosis, to_json
from edgewise.diagnosis.plot import to_svg
from edgewise.diagnosis.subjects import (
    Subject,
    hub_of,
    subject_from_build,
    subject_from_hub,
    targets_of_build,
)
from edgewise.diagnosis.telling import diagnosis_lines
from edgewise.errors import UsageError
from edgewise.files import staged
from edgewise.graph import load
from edgewise.hub_data import open_for
from edgewise.pipeline import importable
from edgewise.plan import data_settings

#: metrics that look at differences between classes only
_CLASS_METRICS = ("top1", "top5")


@dataclass(frozen=True, slots=True)
class Asked:
    """The command line, but for the settings of a project."""

    path: Path
    project: Path | None
    statistics: Path | None
    targets: tuple[str, ...]
    limit: int | None
    top: int | None
    json: Path | None
    plot: Path | None


def diagnose_command(terminal: Terminal, asked: Asked, values: Values) -> None:
    """Diagnose each target; write what was asked for, then tell.

    Raises:
        UsageError: an option or a path is wrong, or data is missing.
        ModelError: a model cannot be read or run.
        DataError: the data or the statistics cannot be read.
    """
    refuse_unknown_targets(asked.targets)
    limit, top = _positive(asked.limit, "--limit"), _positive(asked.top, "--top")
    limit, top = limit or DEFAULT_SAMPLES, top or DEFAULT_TOP
    project, path = _project(asked, values)
    file = hub_of(path)
    folder = path if path.is_dir() else None
    names = _targets(asked, folder)
    hub = load(file)
    with importable(project.folder):
        source = _source(hub, project, limit)
        found: list[Diagnosis] = []
        for name in names:
            terminal.progress.step(f"diagnose {name}")
            subject = _subject(asked, folder, name, hub, source, project)
            found.append(
                diagnose(
                    subject.hub,
                    subject.qdq,
                    subject.scheme,
                    source,
                    statistics=subject.statistics,
                    exclude=subject.exclude,
                    measure=_measure(project),
                    limit=limit,
                    top=top,
                    threads=stages.available_threads(),
                    progress=terminal.progress,
                )
            )
    _tell(terminal, asked, found, top)


def _tell(terminal: Terminal, asked: Asked, found: list[Diagnosis], top: int) -> None:
    written = []
    if asked.json is not None:
        _write(asked.json, to_json(found))
        written.append(f"JSON: {asked.json}")
    if asked.plot is not None:
        _write(asked.plot, to_svg(found, top))
        written.append(f"plot: {asked.plot}")
    stream = terminal.result()
    blocks = ["\n".join(diagnosis_lines(diagnosis, top)) for diagnosis in found]
    stream.write("\n\n".join(blocks) + "\n")
    stream.writelines(f"{line}\n" for line in written)


def _write(path: Path, text: str) -> None:
    with staged(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _positive(value: int | None, flag: str) -> int | None:
    if value is not None and value < 1:
        raise UsageError(f"found {value}; allowed: a whole number from 1", where=flag)
    return value


def _project(asked: Asked, values: Values) -> tuple[Project, Path]:
    """The settings, and where the models are."""
    if asked.path.suffix.lower() == ".toml":
        if asked.project is not None:
            raise UsageError("two project files are given", where="--project")
        project = stage_project(asked.path, values)
        if not project.out_dir.is_dir():
            raise UsageError(
                "the project has not been built",
                where=str(asked.path),
                why=f"'{project.out_dir}' does not exist",
                remedy=f"Run `edgewise build {asked.path}` first.",
            )
        return project, project.out_dir
    values = {("model", "source"): str(asked.path), **values}
    return stage_project(asked.project, values, asked.targets), asked.path


def _targets(asked: Asked, folder: Path | None) -> list[str]:
    if folder is not None:
        if asked.statistics is not None:
            raise UsageError(
                "a build's folder has its own statistics",
                where="--statistics",
                remedy="Leave it out, or name the hub model instead of the folder.",
            )
        return list(asked.targets) or targets_of_build(folder)
    if not asked.targets:
        raise UsageError(
            "the target is missing",
            why="a hub model is quantized for a target first",
            remedy="Give --target android, apple or arm.",
        )
    return list(asked.targets)


def _source(hub: ir.Model, project: Project, limit: int) -> DataSource:
    spec = project.data.calibration or project.data.evaluation
    if spec is None:
        raise UsageError(
            "data is missing",
            why="errors are measured on a few samples",
            remedy="Give --calibration, or a project file with [data] calibration (--project).",
        )
    return open_for(hub, spec, data_settings(project.data), limit=None)


def _subject(
    asked: Asked,
    folder: Path | None,
    target: str,
    hub: ir.Model,
    source: DataSource,
    project: Project,
) -> Subject:
    if folder is None:
        return subject_from_hub(hub, asked.statistics, target, project)
    return subject_from_build(folder, target, hub, source, project)


def _measure(project: Project) -> Measure:
    return "classes" if project.data.metric in _CLASS_METRICS else "auto"
