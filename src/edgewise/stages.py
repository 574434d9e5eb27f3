"""The stages of a build as functions of their own, on models in memory or on saved files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

import edgewise.targets
from edgewise.calibration import DEFAULT_PERCENTILE, Recipe, Statistics, collect_statistics
from edgewise.calibration.recipe import WeightMethod
from edgewise.data import DataSource, ImagePreprocessing, peek
from edgewise.data.preprocessing import DataSettings
from edgewise.errors import UsageError
from edgewise.exporters import ExportResult, Shapes, SourceOptions
from edgewise.exporters import export as export_model
from edgewise.exporters.parity import MOST_SAMPLES
from edgewise.files import check_new_file
from edgewise.findings import Finding
from edgewise.graph import load, save
from edgewise.hub_data import examples, open_for
from edgewise.progress import SILENT, Progress
from edgewise.repairing import Float, repair_and_quantize
from edgewise.targets import Artifact, EmitOptions
from edgewise.targets.base import LOCAL
from edgewise.targets.manifest import load_artifact
from edgewise.targets.validation import (
    Baseline,
    Budget,
    InstructionBaseline,
    Metric,
    TargetResult,
)
from edgewise.targets.validation import validate as validate_artifact
from edgewise.targets.validation.devices import resolve

if TYPE_CHECKING:
    from edgewise.exporters.pytorch import Module

#: names in `stages/`
HUB, STATISTICS = "hub.onnx", "statistics.npz"
_NO_BUDGET = Budget()
_NOTHING_SAID = SourceOptions()
_AS_TOLD = DataSettings()


def qdq_name(target: str) -> str:
    """File name in `stages/` of a target's QDQ model."""
    return f"qdq-{target}.onnx"


def available_threads() -> int:
    """Processors that this process may use, for everything but latency."""
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1


def export(
    source: str | Path | ir.Model | Module,
    *,
    input_shapes: Shapes | None = None,
    example: str | Path | DataSource | None = None,
    image: ImagePreprocessing | None = None,
    settings: DataSettings = _AS_TOLD,
    options: SourceOptions = _NOTHING_SAID,
    out: str | Path | None = None,
    progress: Progress = SILENT,
) -> ExportResult:
    """Bring a model to its canonical ONNX form and verify that it computes the same.

    Args:
        source: a model file or folder, `package.module:factory`, or a model object (never
            changed).
        input_shapes: shape per input name; a name in it keeps that dimension free.
        example: data for the parity check; random inputs without.
        image: preprocessing, where the data are pictures; what the source tells of without.
        settings: what else is to be said of the data.
        options: whatever else is to be said of the source.
        out: where to write the hub model; None does not write.

    Raises:
        UsageError: a path, module, function or input does not exist, or `out` cannot be written.
        ModelError: the model cannot be read, is invalid, or differs after export.
        DataError: the example data cannot be read.
    """
    if out is not None:
        check_new_file(out)
    said = _with_image(settings, image)
    if isinstance(example, str | Path):
        options = replace(options, example=peek(example, image=said.image_alone, base=options.base))
    result = export_model(
        source,
        input_shapes=input_shapes,
        example=examples(example, said, MOST_SAMPLES),
        options=options,
        progress=progress,
    )
    if out is not None:
        save(result.model, out)
    return result


def calibrate(
    model: str | Path | ir.Model,
    data: str | Path | DataSource,
    *,
    image: ImagePreprocessing | None = None,
    settings: DataSettings = _AS_TOLD,
    limit: int | None = None,
    threads: int | None = None,
    out: str | Path | None = None,
    progress: Progress = SILENT,
) -> Statistics:
    """Statistics of the hub model's activations over the data, fit for every target.

    Args:
        data: folder of pictures, labels CSV, `.npz`, `package.module:function`, or a source.
        threads: for inference; all processors by default.
        out: where to write the statistics (`.npz`); None does not write.

    Raises:
        UsageError: a path or function does not exist, or `out` cannot be written.
        DataError: the data cannot be read, does not fit the model, or holds NaN or infinity.
        ModelError: the model cannot be read or run.
    """
    if out is not None:
        check_new_file(out)
    hub = load(model)
    source = _open(data, hub, _with_image(settings, image), limit, False)
    statistics = collect_statistics(
        hub, source, limit=limit, threads=threads or available_threads(), progress=progress
    )
    if out is not None:
        statistics.save(out)
    return statistics


def quantize(
    model: str | Path | ir.Model,
    statistics: str | Path | Statistics | None = None,
    *,
    target: str,
    precision: str = "w8a8",
    options: Mapping[str, Any] | None = None,
    method: str = "minmax",
    percentile: float = DEFAULT_PERCENTILE,
    weight_method: WeightMethod = "minmax",
    repairs: Sequence[str] = (),
    calibration: str | Path | DataSource | None = None,
    settings: DataSettings = _AS_TOLD,
    limit: int | None = None,
    findings: list[Finding] | None = None,
    out: str | Path | None = None,
) -> ir.Model:
    """The hub model with QuantizeLinear and DequantizeLinear, as the target wants them.

    Args:
        statistics: from `calibrate` with the same model; not needed where only weights are
            quantized.
        target: `android`, `apple` or `arm`.
        options: what `[targets.<name>]` says beside the precision.
        method: how ranges of activations are chosen: a name in `edgewise.calibration.METHODS`.
        percentile: share of values that method `percentile` keeps, in percent.
        weight_method: how scales of weights are chosen.
        repairs: what is done to the hub model before, in order: names in
            `edgewise.calibration.repairs.REPAIRS`.
        calibration: the data that the statistics come from, which repairs need.
        settings: what else is to be said of these data.
        limit: use at most this many samples of them.
        findings: receives what was repaired, and what stays in float.
        out: where to write the QDQ model; None does not write.

    Raises:
        UsageError: unknown target, option, method or repair, missing statistics or data, or `out`
            cannot be written.
        UnsupportedPrecision: the target does not offer the precision.
        ModelError: a file cannot be read, or the statistics belong to another model.
    """
    if out is not None:
        check_new_file(out)
    scheme = edgewise.targets.get(target).scheme(precision, options)
    known = Statistics.load(statistics) if isinstance(statistics, str | Path) else statistics
    recipe = Recipe(
        method=method, percentile=percentile, weights=weight_method, repairs=tuple(repairs)
    )
    hub = load(model)
    if repairs and calibration is None and scheme.needs_statistics:
        raise UsageError(
            "calibration data is missing",
            why="repairs look at what the model computes from it",
            remedy="Give the data that the statistics come from, with --calibration.",
        )
    source = None
    if repairs and calibration is not None:
        source = _open(calibration, hub, settings, limit, False)
    done = repair_and_quantize(Float(hub, known, source, available_threads()), scheme, recipe)
    quantized = done.model
    if findings is not None:
        findings += done.findings
    if out is not None:
        save(quantized, out)
    return quantized


def validate(
    artifact: str | Path | Artifact,
    *,
    hub: str | Path | ir.Model | None = None,
    reference: str | Path | ir.Model | None = None,
    evaluation: str | Path | DataSource | None = None,
    image: ImagePreprocessing | None = None,
    settings: DataSettings = _AS_TOLD,
    metric: str | Metric | None = "top1",
    limit: int | None = None,
    budget: Budget = _NO_BUDGET,
    device: str = LOCAL,
    threads: int | None = None,
    baseline: Baseline | None = None,
    profile: bool = False,
    instructions: bool = False,
    earlier: InstructionBaseline | None = None,
    progress: Progress = SILENT,
) -> TargetResult:
    """Measure an artifact as it lies on disk: equivalence, accuracy, latency, size, budgets.

    Args:
        artifact: file, package, or the folder that holds it with its manifest.
        hub: the fp32 hub model; by default `../stages/hub.onnx`, as a build leaves it.
        reference: the model it was emitted from; by default `../stages/qdq-<target>.onnx`, or the
            hub model for an artifact without a QDQ model.
        evaluation: labelled data, or None for no accuracy.
        metric: a name, a metric, or None to compare outputs only.
        device: `local`, `emulated:cortex-a53`, `ssh://user@host`, `adb:SERIAL`, `mac:user@host`,
            or a name from `edgewise devices`.
        threads: while latency is measured; those of the named device without it, else one.
        profile: time the parts of the artifact, too.
        instructions: count those of an inference, on an emulated device.
        earlier: counts of an earlier report, which must not be exceeded.

    Raises:
        UsageError: a path does not exist, or an option does not fit.
        ModelError: a model or the artifact cannot be read or run.
        DataError: the data cannot be read or lacks labels.
        DeviceError: the device is unavailable or fails.
    """
    known = artifact if isinstance(artifact, Artifact) else load_artifact(artifact)
    stages = known.path.parent.parent / "stages"
    hub_model = load(stages / HUB if hub is None else hub)
    source = None
    if evaluation is not None:
        labelled = metric is not None
        said = _with_image(settings, image)
        source = _open(evaluation, hub_model, said, limit, labelled)
    with tempfile.TemporaryDirectory(prefix="edgewise-") as scratch:
        progress.step(f"Emitting {known.target} fp32 to compare with")
        return validate_artifact(
            known,
            reference=reference_of(known, hub_model, reference, stages),
            hub=hub_model,
            fp32_artifact=emit_fp32(known, hub_model, Path(scratch)),
            source=source,
            metric=metric,
            budget=budget,
            device=device,
            threads=threads or resolve(device).threads or 1,
            reference_threads=available_threads(),
            baseline=baseline,
            profile=profile,
            instructions=instructions,
            earlier=earlier,
            progress=progress,
        )


def emit_fp32(artifact: Artifact, hub: ir.Model, folder: Path) -> Artifact | None:
    """The same target's fp32 artifact for the same sizes, or None where it is that one already."""
    manifest = artifact.manifest
    if manifest.precision == "fp32":
        return None
    target = edgewise.targets.get(manifest.target)
    sizes = {key: value for key, value in manifest.options.items() if key == "shapes"}
    options = EmitOptions(name="fp32", options=sizes if "shapes" in target.options else {})
    return target.emit(hub, folder / manifest.target, "fp32", options=options)


def reference_of(
    artifact: Artifact,
    hub: ir.Model,
    reference: str | Path | ir.Model | None,
    stages: Path,
) -> ir.Model:
    """The model that an artifact was emitted from: what the user names, else the one in `stages`.

    Raises:
        UsageError: it does not exist.
        ModelError: it cannot be read.
    """
    if reference is not None:
        return load(reference)
    qdq = stages / qdq_name(artifact.target)
    if not edgewise.targets.get(artifact.target).scheme(artifact.manifest.precision).is_quantized:
        return hub
    if not qdq.is_file():
        raise UsageError(
            "the QDQ model of this artifact is missing",
            where=str(artifact.path),
            why=f"'{qdq}' does not exist",
            remedy="Name it with --reference.",
        )
    return load(qdq)


def _open(
    data: str | Path | DataSource,
    hub: ir.Model,
    settings: DataSettings,
    limit: int | None,
    require_labels: bool,
) -> DataSource:
    if not isinstance(data, str | Path):
        return data
    return open_for(hub, data, settings, limit=limit, require_labels=require_labels)


def _with_image(settings: DataSettings, image: ImagePreprocessing | None) -> DataSettings:
    return settings if image is None else replace(settings, image=image.as_dict())
