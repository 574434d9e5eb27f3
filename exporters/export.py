"""The public function: any source to the hub model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from edgewise.data.source import InputSpec, Sample
from edgewise.data.specs import input_specs
from edgewise.exporters.opened import Shapes, SourceKind
from edgewise.exporters.parity import Parity, measure_parity
from edgewise.exporters.pipeline import canonicalize
from edgewise.exporters.quiet import quiet
from edgewise.exporters.source import open_model
from edgewise.findings import Finding
from edgewise.graph import prepare
from edgewise.progress import SILENT, Progress

if TYPE_CHECKING:
    from edgewise.exporters.pytorch import Module

#: real examples that parity is measured on
_PARITY_SAMPLES = 4

Examples = Iterable[Sample]
#: given what the hub model takes, opens the data: inputs are known only after the export
ExampleOpener = Callable[[Sequence[InputSpec]], Examples]


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The hub model, where it came from, and the proof that it is the same function."""

    model: ir.Model
    source_kind: SourceKind
    parity: Parity
    findings: tuple[Finding, ...] = ()


def export(
    source: str | Path | ir.Model | onnx.ModelProto | Module,
    *,
    input_shapes: Shapes | None = None,
    example: Examples | ExampleOpener | None = None,
    base: Path | None = None,
    progress: Progress = SILENT,
) -> ExportResult:
    """Bring a model to its canonical ONNX form, and verify that it computes the same.

    Args:
        source: path of a `.onnx` (opset 7 or newer) or `.pt2`; `package.module:factory` or
            `file.py:factory`, whose call gives a `torch.nn.Module` or an ONNX model; or such an
            object itself (never changed).
        input_shapes: shape per input name. PyTorch modules need them, here, as an attribute
            `input_shapes` of the factory or the module, or through `example`.
        example: real inputs for the parity check, or a function that opens them when it is given
            the hub model's inputs. Random inputs are used without.
        base: folder that relative paths and modules are looked up in; the working directory by
            default.

    Raises:
        UsageError: path, module, function or input does not exist, or torch is not installed.
        ModelError: the model cannot be read, is invalid, or differs from its source after export.
        DataError: from `example`.
    """
    progress.step("reading the model")
    early = list(islice(example, _PARITY_SAMPLES)) if isinstance(example, Iterable) else []
    first = early[0].feeds if early else None
    opened = open_model(source, input_shapes or {}, first, base)
    progress.step("bringing it to canonical form")
    # torch has fixed the shapes while tracing; an ONNX model has its inputs fixed here
    fixed = input_shapes if opened.kind.startswith("onnx") else None
    with quiet():  # shape inference logs what it cannot infer
        hub = prepare(opened.model, input_shapes=fixed)
        findings = canonicalize(hub)
    specs = input_specs(hub)
    progress.step("comparing it with its source")
    samples = early or _opened(example, specs)
    parity = measure_parity(opened, hub, specs, [sample.feeds for sample in samples])
    return ExportResult(hub, opened.kind, parity, (*findings, *_unmeasured(parity)))


def _opened(example: Examples | ExampleOpener | None, specs: Sequence[InputSpec]) -> list[Sample]:
    if example is None or isinstance(example, Iterable):
        return []
    return list(islice(example(specs), _PARITY_SAMPLES))


def _unmeasured(parity: Parity) -> tuple[Finding, ...]:
    if parity.reason is None:
        return ()
    message = f"parity with the source was not measured: {parity.reason}"
    return (Finding("export/parity", "warning", message, remedy="Give data to calibrate with."),)
