"""What is diagnosed: the models of a build's folder, or a hub model with its statistics.

A build that repaired the hub model leaves the unrepaired one behind, with which accuracy is
compared. The repairs are done again then, as its report names them. Those that end with their time
may come out another way, by less than a step of each weight.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

import edgewise.targets
from edgewise import stages
from edgewise.calibration import Recipe, Statistics
from edgewise.calibration.quantize_for import quantize_for
from edgewise.calibration.repairs import RepairInput, apply_repairs
from edgewise.calibration.scheme import Scheme
from edgewise.config import Project
from edgewise.data.source import DataSource
from edgewise.errors import ModelError, UsageError
from edgewise.graph import load
from edgewise.targets import TARGETS
from edgewise.targets.manifest import MANIFEST_NAME, load_artifact

_REPORT = "report.json"


@dataclass(frozen=True, slots=True)
class Subject:
    """One target's QDQ model, the float model that it was made from, and how."""

    hub: ir.Model
    qdq: ir.Model
    scheme: Scheme
    statistics: Statistics | None
    exclude: tuple[str, ...]


def hub_of(path: Path) -> Path:
    """The hub model in a build's folder, or the file itself.

    Raises UsageError: the path does not exist, or is the folder of something else.
    """
    if path.is_dir():
        hub = path / "stages" / stages.HUB
        if not hub.is_file():
            raise UsageError(
                "is not the output folder of a build",
                where=str(path),
                why=f"'{hub}' does not exist",
                remedy="Build the project first, or name a hub model with --statistics.",
            )
        return hub
    if not path.exists():
        raise UsageError("no such file or folder", where=str(path), remedy="Check the path.")
    return path


def subject_from_build(
    folder: Path, target: str, hub: ir.Model, source: DataSource, project: Project
) -> Subject:
    """What a build left in its folder for a target.

    Raises:
        UsageError: there is no QDQ model of that target.
        ModelError: a file cannot be read.
        DataError: the statistics cannot be read.
    """
    qdq = folder / "stages" / stages.qdq_name(target)
    if not qdq.is_file():
        raise UsageError(
            f"there is no quantized model for {target}",
            where=str(folder),
            why=f"'{qdq}' does not exist",
            remedy="Build that target with an integer precision, or name another one.",
        )
    scheme = _scheme(folder / target, target, project)
    file = folder / "stages" / stages.STATISTICS
    statistics = Statistics.load(file) if file.is_file() else None
    recipe = _recipe(folder / _REPORT, target)
    if recipe.repairs and statistics is not None:
        given = RepairInput(source, statistics, scheme, recipe, threads=stages.available_threads())
        applied = apply_repairs(hub, recipe.repairs, given)
        hub, statistics = applied.model, applied.statistics
    return Subject(hub, load(qdq), scheme, statistics, tuple(sorted(recipe.float_nodes)))


def targets_of_build(folder: Path) -> list[str]:
    """The targets with a QDQ model. Raises UsageError where there are none."""
    found = [name for name in TARGETS if (folder / "stages" / stages.qdq_name(name)).is_file()]
    if not found:
        raise UsageError(
            "holds no quantized model",
            where=str(folder),
            remedy="Build with an integer precision such as w8a8.",
        )
    return found


def subject_from_hub(
    hub: ir.Model, statistics: Path | None, target: str, project: Project
) -> Subject:
    """A hub model, quantized now as the project says.

    Raises:
        UsageError: statistics are needed and missing, or a method is unknown.
        UnsupportedPrecision, ModelError, DataError: see `quantize_for` and `Statistics.load`.
    """
    table, calibration = project.target_tables[target], project.calibration
    scheme = edgewise.targets.get(target).scheme(table.precision, table.options)
    known = None if statistics is None else Statistics.load(statistics)
    if known is None and scheme.needs_statistics:
        raise UsageError(
            "statistics are missing",
            remedy="Give --statistics, from `edgewise calibrate`, or a build's output folder.",
        )
    recipe = Recipe(
        method=calibration.method,
        percentile=calibration.percentile,
        weights=calibration.weights,
    )
    return Subject(hub, quantize_for(hub, known, scheme, recipe).model, scheme, known, ())


def _scheme(folder: Path, target: str, project: Project) -> Scheme:
    backend = edgewise.targets.get(target)
    if (folder / MANIFEST_NAME).is_file():
        manifest = load_artifact(folder).manifest
        own = {key: value for key, value in manifest.options.items() if key in backend.options}
        return backend.scheme(manifest.precision, own)
    table = project.target_tables[target]
    return backend.scheme(table.precision, table.options)


def _recipe(report: Path, target: str) -> Recipe:
    """What a search chose, else what the project asked for, as the report has it."""
    if not report.is_file():
        return Recipe()
    try:
        told = json.loads(report.read_text(encoding="utf-8"))
        searched = (told.get("search") or {}).get(target) or {}
        asked = told.get("calibration") or {}
        known = {key: asked[key] for key in ("method", "percentile", "repairs") if asked.get(key)}
        plain = dict(searched.get("recipe") or {}) if searched else known
        return Recipe(**{key: _FIELDS.get(key, _as_it_is)(plain[key]) for key in plain})
    except (ValueError, AttributeError, TypeError) as error:
        raise ModelError(
            "cannot read the report", where=str(report), remedy="Build again."
        ) from error


def _as_it_is(value: Any) -> Any:
    return value


#: what JSON has in another form
_FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "clipped": lambda ranges: {name: (low, high) for name, (low, high) in ranges.items()},
    "float_nodes": frozenset,
    "repairs": tuple,
    "wide_nodes": frozenset,
}
