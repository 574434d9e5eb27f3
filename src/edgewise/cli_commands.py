"""What the commands do, one function each. Imported when a command runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgewise import stages
from edgewise.calibration.repairs.base import rule_of
from edgewise.cli_run import Terminal
from edgewise.config import OptionValue, Project
from edgewise.config_file import from_flags, load_project
from edgewise.data.notes import notes_of
from edgewise.errors import BudgetMissed, UsageError
from edgewise.findings import Finding
from edgewise.graph import is_quantized_model, load
from edgewise.hub_data import for_application, open_for
from edgewise.labels import labels_for
from edgewise.pipeline import build_project, importable
from edgewise.plan import (
    about,
    check_paths,
    data_settings,
    default_name,
    source_options,
)
from edgewise.refusals import raise_refusals
from edgewise.report import print_results, to_json
from edgewise.report.search_wording import search_lines
from edgewise.report.wording import finding_line, missed_budgets, origin_line
from edgewise.targets import EmitOptions, get
from edgewise.targets.validation import TargetResult

Values = dict[tuple[str, ...], Any]
#: read when `edgewise build` is given no source
DEFAULT_PROJECT = Path("edgewise.toml")


def build_command(
    terminal: Terminal,
    source: str | None,
    values: Values,
    targets: Sequence[str] | None,
    devices: Sequence[str] | None,
    *,
    json: bool,
) -> None:
    """`edgewise build`. Raises BudgetMissed after the result has been told."""
    file = _project_file(source)
    if file is None:
        values = {("model", "source"): source, **values}
    project = load_project(file, from_flags(values), targets=targets)
    result = build_project(project, devices=devices, progress=terminal.progress)
    if json:
        terminal.result().write(to_json(result.report.as_dict()))
    else:
        model = result.report.model
        print_results(
            result.report.targets,
            terminal.result(),
            metric=result.report.evaluation.metric,
            remarks=result.report.findings,
            origin=origin_line(model.source_kind, model.exporter, result.report.parity),
            searches=search_lines(result.report.search),
            page=result.out / "report.html",
            verbose=terminal.verbose,
        )
    raise_missed(result.report.targets)


def raise_missed(results: dict[str, TargetResult] | Any) -> None:
    """Raises BudgetMissed naming every missed budget, or returns."""
    if missed := missed_budgets(results):
        raise BudgetMissed("; ".join(missed), where="budget missed")


def _project_file(source: str | None) -> Path | None:
    if source is None:
        if DEFAULT_PROJECT.is_file():
            return DEFAULT_PROJECT
        raise UsageError(
            "no project file and no model",
            why=f"there is no {DEFAULT_PROJECT} in this folder",
            remedy="Give one: edgewise build PROJECT.toml, or edgewise build MODEL.onnx.",
        )
    return Path(source) if source.lower().endswith(".toml") else None


def stage_project(file: Path | None, values: Values, targets: Sequence[str] = ()) -> Project:
    """The settings of a single stage; its model file stands in for the project's source."""
    project = load_project(file, from_flags(values), targets=list(targets) or None)
    check_paths(project.data)
    return project


def export_command(terminal: Terminal, file: Path | None, values: Values, out: Path) -> None:
    """`edgewise export`."""
    project = stage_project(file, values)
    with importable(project.folder):
        result = stages.export(
            project.model.source,
            options=source_options(project),
            example=project.data.calibration or project.data.evaluation,
            settings=data_settings(project.data),
            out=out,
            progress=terminal.progress,
        )
    remarks = [finding for finding in result.findings if finding.severity != "info"]
    stream = terminal.result()
    origin = origin_line(result.source_kind, result.exporter, result.parity)
    stream.write(f"hub model: {out} ({origin})\n")
    for finding in result.findings if terminal.verbose else remarks:
        stream.write(f"{finding_line('', finding)}\n")


def calibrate_command(terminal: Terminal, file: Path | None, values: Values, out: Path) -> None:
    """`edgewise calibrate`."""
    project = stage_project(file, values)
    if project.data.calibration is None:
        raise UsageError("calibration data is missing", remedy="Give --calibration.")
    with importable(project.folder):
        statistics = stages.calibrate(
            project.model.source,
            project.data.calibration,
            settings=data_settings(project.data),
            limit=project.data.limit,
            out=out,
            progress=terminal.progress,
        )
    terminal.result().write(f"statistics: {out} ({statistics.samples} samples)\n")


def quantize_command(
    terminal: Terminal,
    file: Path | None,
    values: Values,
    statistics: Path | None,
    target: str,
    out: Path | None,
) -> None:
    """`edgewise quantize`."""
    project = stage_project(file, values, [target])
    path = out or Path(stages.qdq_name(target))
    terminal.progress.step(f"quantize {target}")
    asked = project.calibration.repairs
    findings: list[Finding] = []
    with importable(project.folder):
        stages.quantize(
            project.model.source,
            statistics,
            target=target,
            precision=project.targets[target].precision,
            options=project.targets[target].options,
            method=project.calibration.method,
            percentile=project.calibration.percentile,
            weight_method=project.calibration.weights,
            repairs=asked,
            calibration=project.data.calibration if asked else None,
            settings=data_settings(project.data),
            limit=project.data.limit,
            findings=findings,
            out=path,
        )
    stream = terminal.result()
    stream.write(f"QDQ model: {path}\n")
    told = {rule_of(name) for name in asked}
    for finding in findings if asked else ():
        if terminal.verbose or finding.rule in told:
            stream.write(f"{finding_line('', finding)}\n")


def emit_command(
    terminal: Terminal, file: Path | None, values: Values, target: str, out: Path | None
) -> None:
    """`edgewise emit`."""
    project = stage_project(file, values, [target])
    table = project.targets[target]
    model = load(project.model.source)
    given = table.model_fields_set & {"precision"}
    precision = table.precision if given or is_quantized_model(model) else "fp32"
    backend = get(target)
    with importable(project.folder):
        options = _emit_options(project, model, table.options)
    found = backend.check(model, precision, options=options)
    raise_refusals({target: found}, {target: model})
    terminal.progress.step(f"emit {target}")
    artifact = backend.emit(model, out or Path(target), precision, options=options)
    terminal.result().write(f"artifact: {artifact.path} ({artifact.size_bytes} bytes)\n")


def _emit_options(project: Project, model: ir.Model, own: Mapping[str, OptionValue]) -> EmitOptions:
    """What a build of the same project would tell the target."""
    settings = data_settings(project.data)
    specs = (project.data.evaluation, project.data.calibration)
    if project.data.labels is not None:
        specs = (None, None)  # the file tells
    sources = [None if spec is None else open_for(model, spec, settings) for spec in specs]
    preprocessing, beside = for_application(model, settings)
    return EmitOptions(
        name=project.model.name or default_name(project.model.source),
        labels=labels_for(model, project.data.labels, sources, told=notes_of(model).labels),
        preprocessing=preprocessing,
        beside=beside,
        options=own,
        about=about(project.model),
    )
