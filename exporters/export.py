"""The public function: any source to the hub model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from edgewise.data.notes import attach, notes_of
from edgewise.data.preprocessing import Preprocessing
from edgewise.data.source import InputSpec, Sample
from edgewise.data.specs import input_specs
from edgewise.errors import InternalError
from edgewise.exporters.check import refuse_custom_operators
from edgewise.exporters.not_finite import not_finite_findings
from edgewise.exporters.opened import OpenedModel, Shapes, SourceKind, SourceOptions
from edgewise.exporters.parity import MOST_SAMPLES, Parity, measure_parity
from edgewise.exporters.pipeline import canonicalize, refuse_broken
from edgewise.exporters.quantized import (
    ROUNDED_FORM,
    as_float,
    as_rounded,
    with_surviving_ranges,
)
from edgewise.exporters.quiet import quiet
from edgewise.exporters.source import open_source_model
from edgewise.findings import Finding
from edgewise.graph import prepare
from edgewise.graph.quantized import TensorQuantization
from edgewise.progress import SILENT, Progress

if TYPE_CHECKING:
    from edgewise.exporters.pytorch import Module

Examples = Iterable[Sample]
#: given what the hub model takes, and the preprocessing that its source tells of, opens the data:
#: both are known only after the export
ExampleOpener = Callable[[Sequence[InputSpec], Preprocessing | None], Examples]
_NOTHING_SAID = SourceOptions()


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The hub model, where it came from, and the proof that it is the same function; see
    `OpenedModel` for what the source says beside it."""

    model: ir.Model
    source_kind: SourceKind
    parity: Parity
    findings: tuple[Finding, ...] = ()
    exporter: str = ""
    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] = ()
    ranges: Mapping[str, TensorQuantization] | None = None


def export(
    source: str | Path | ir.Model | onnx.ModelProto | Module,
    *,
    input_shapes: Shapes | None = None,
    example: Examples | ExampleOpener | None = None,
    options: SourceOptions = _NOTHING_SAID,
    base: Path | None = None,
    progress: Progress = SILENT,
) -> ExportResult:
    """Bring a model to its canonical ONNX form, and verify that it computes the same.

    Args:
        source: path of a model; `package.module:factory` or `file.py:factory`, whose call gives a
            model object; or such an object itself (never changed).
        input_shapes: shape per input name, in place of those of `options`. PyTorch modules need
            them, here, as an attribute `input_shapes` of the factory or the module, or through
            `example`.
        example: real inputs for the parity check, or a function that opens them when it is given
            the hub model's inputs. Random inputs are used without.
        options: whatever else is to be said of the source.
        base: in place of that of `options`.

    Raises:
        UsageError: path, module, function or input does not exist, or torch is not installed.
        ModelError: the model cannot be read, is invalid, or differs from its source after export.
        DataError: from `example`.
    """
    progress.step("reading the model")
    early = list(islice(example, MOST_SAMPLES)) if isinstance(example, Iterable) else []
    if early:
        options = replace(options, example=early[0].feeds)
    if base is not None:
        options = replace(options, base=base)
    if input_shapes is not None:
        options = replace(options, input_shapes=input_shapes)
    opened = as_float(open_source_model(source, options))
    weights = not_finite_findings(opened.model)
    progress.step("bringing it to canonical form")
    prepared, hub, findings = _canonical(opened, options)
    refuse_custom_operators(hub)
    notes = notes_of(hub)  # of a hub model that is exported again
    told, labels = opened.preprocessing or notes.preprocessing, opened.labels or notes.labels
    attach(hub, told, labels)
    specs = input_specs(hub)
    progress.step("comparing it with its source")
    samples = early or _opened(example, specs, told)
    opened, lost = with_surviving_ranges(opened, prepared, hub, specs)
    rounded, compared = as_rounded(opened, hub)
    parity = measure_parity(rounded, compared, specs, (sample.feeds for sample in samples))
    if compared is not hub:
        parity = replace(parity, hub_form=ROUNDED_FORM)
    return ExportResult(
        hub,
        opened.kind,
        parity,
        (*opened.findings, *weights, *findings, *lost, *_unmeasured(parity)),
        opened.exporter,
        told,
        labels,
        opened.ranges,
    )


def hub_model(
    source: str | Path | ir.Model | onnx.ModelProto | Module, options: SourceOptions
) -> tuple[OpenedModel, ir.Model]:
    """A source and its hub model as `export` gives it, compared with nothing: for whoever looks at
    a model and uses none of its results. Raises what `export` raises of the source."""
    opened = as_float(open_source_model(source, options))
    return opened, _canonical(opened, options)[1]


def _canonical(
    opened: OpenedModel, options: SourceOptions
) -> tuple[ir.Model, ir.Model, tuple[Finding, ...]]:
    """The model prepared and then canonical, and what was left alone. Both are one object where
    nobody asks for the first."""
    # torch has fixed the shapes while tracing; an ONNX model has its inputs fixed here
    fixed = options.input_shapes if opened.kind.startswith("onnx") else None
    with quiet():  # shape inference logs what it cannot infer
        hub = prepare(opened.model, input_shapes=fixed)
        prepared = ir.from_proto(ir.to_proto(hub)) if opened.ranges else hub
        try:
            return prepared, hub, canonicalize(hub)
        except InternalError:
            # what an exporter wrote wrongly is no defect of the pass that met it
            refuse_broken(prepare(opened.model, input_shapes=fixed), opened.exporter)
            raise


def _opened(
    example: Examples | ExampleOpener | None,
    specs: Sequence[InputSpec],
    preprocessing: Preprocessing | None,
) -> Examples:
    if example is None or isinstance(example, Iterable):
        return ()
    return example(specs, preprocessing)


def _unmeasured(parity: Parity) -> tuple[Finding, ...]:
    if parity.reason is not None:
        message = f"parity with the source was not measured: {parity.reason}"
        # other inputs help where these were the trouble
        remedy = "Give data to calibrate with." if "random inputs" in parity.reason else ""
        return (Finding("export/parity", "warning", message, remedy=remedy),)
    if parity.sizes_reason is not None:
        message = f"free dimensions were compared in one size only: {parity.sizes_reason}"
        return (Finding("export/free-dimensions", "info", message),)
    return ()
