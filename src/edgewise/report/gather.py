"""From what the stages gave to the report."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from edgewise.calibration import Statistics
from edgewise.data import DataSource
from edgewise.exporters import ExportResult
from edgewise.files import files_below, sha256
from edgewise.inspection.onnx_network import network_of
from edgewise.inspection.summary import summarize
from edgewise.plan import Plan
from edgewise.report.document import (
    FORMAT,
    CalibrationSummary,
    DataSummary,
    EvaluationSummary,
    ModelSummary,
    Report,
    TensorSummary,
)
from edgewise.search.summary import SearchSummary
from edgewise.targets.manifest import tool_versions
from edgewise.targets.validation import TargetResult

#: distributions whose version can change a figure
_PACKAGES = (
    "ai-edge-litert",
    "coremltools",
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "onnxscript",
    "pillow",
    "torch",
)


_OWN_SCALES = "from the model's own scales"


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything that a report is made of; `folder` is the staged output folder."""

    plan: Plan
    exported: ExportResult
    statistics: Statistics | None
    calibration: DataSource | None
    evaluation: DataSource | None
    results: Mapping[str, TargetResult]
    timings: Mapping[str, float]
    folder: Path
    searches: Mapping[str, SearchSummary]


def make_report(build: Gathered) -> Report:
    """The report of a build whose artifacts and stages lie complete in `build.folder`."""
    hashes = {
        file.relative_to(build.folder).as_posix(): sha256(file)
        for file in files_below(build.folder)
    }
    ok = all(result.ok for result in build.results.values())
    sources = [s for s in (build.calibration, build.evaluation) if s is not None]
    remarks = (*build.exported.findings, *(f for source in sources for f in source.findings))
    return Report(
        format=FORMAT,
        ok=ok,
        exit_code=0 if ok else 1,
        model=_model(build, hashes["stages/hub.onnx"]),
        parity=build.exported.parity,
        calibration=_calibration(build),
        evaluation=_evaluation(build),
        targets=dict(build.results),
        search=dict(build.searches),
        findings=tuple(dict.fromkeys(remarks)),
        hashes=hashes,
        versions={"python": platform.python_version(), **tool_versions(*_PACKAGES)},
        timings=dict(build.timings),
    )


def _model(build: Gathered, hub_hash: str) -> ModelSummary:
    graph = build.exported.model.graph
    initializers = graph.initializers.values()
    inputs = [value for value in graph.inputs if value.name not in graph.initializers]
    counted = summarize(network_of(build.exported.model.clone(), {}))
    return ModelSummary(
        name=build.plan.name,
        source=build.plan.project.model.source,
        source_kind=build.exported.source_kind,
        exporter=build.exported.exporter,
        sha256=hub_hash,
        inputs=tuple(_tensor(value) for value in inputs),
        outputs=tuple(_tensor(value) for value in graph.outputs),
        nodes=len(graph),
        parameters=sum(v.const_value.size for v in initializers if v.const_value is not None),
        macs=counted.macs.total,
        activation_bytes=counted.memory.peak_bytes,
    )


def _tensor(value: ir.Value) -> TensorSummary:
    shape = None
    if value.shape is not None:
        shape = tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)
    dtype = None if value.dtype is None else str(value.dtype.numpy())
    return TensorSummary(str(value.name), shape, dtype)


def _data(source: DataSource, samples: int) -> DataSummary:
    return DataSummary(source.description, source.fingerprint, samples, source.labelled)


def _calibration(build: Gathered) -> CalibrationSummary:
    own = _OWN_SCALES if build.exported.ranges else None
    if build.calibration is None or build.statistics is None:
        quantizes = build.plan.quantizes
        reason = own or "no calibration data" if quantizes else "no target quantizes activations"
        return CalibrationSummary(None, None, None, reason)
    table = build.plan.project.calibration
    return CalibrationSummary(
        _data(build.calibration, build.statistics.samples),
        table.method,
        table.percentile if table.method == "percentile" else None,
        None if own is None else f"{own}, where its source has any",
        table.repairs,
    )


def _evaluation(build: Gathered) -> EvaluationSummary:
    if build.evaluation is None:
        return EvaluationSummary(None, None, "no evaluation data")
    metric = build.plan.metric
    return EvaluationSummary(
        _data(build.evaluation, len(build.evaluation)),
        None if metric is None else metric.name,
        "the metric is 'none'" if metric is None else None,
    )
