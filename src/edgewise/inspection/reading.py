"""From a path to the facts: who reads it, and what they sum up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgewise.errors import ModelError, UsageError
from edgewise.exporters import Shapes, SourceOptions
from edgewise.exporters.source import KINDS
from edgewise.inspection.facts import FORMAT, ModelFacts
from edgewise.inspection.folders import refuse_folder_of_models
from edgewise.inspection.inspected import Inspected
from edgewise.inspection.summary import summarize
from edgewise.inspection.support import support_of
from edgewise.references import is_reference
from edgewise.targets import TARGETS
from edgewise.targets.manifest import MANIFEST_NAME, load_artifact

_PACKAGE = ".mlpackage"
#: read as they are; others are exported
_FILES = (".onnx", ".ort", ".tflite")
_NOTHING_SAID = SourceOptions()


@dataclass(frozen=True, slots=True)
class Reading:
    """A model that was read, with the facts that need no target."""

    facts: ModelFacts
    inspected: Inspected = field(repr=False)

    def with_targets(self, names: Sequence[str]) -> ModelFacts:
        """The facts with what these targets say. Raises UsageError: there is no such target."""
        return replace(self.facts, targets=tuple(support_of(self.inspected, names)))


def inspect(
    source: str | Path | Any,
    *,
    input_shapes: Shapes | None = None,
    options: SourceOptions = _NOTHING_SAID,
    targets: Sequence[str] = tuple(TARGETS),
) -> ModelFacts:
    """What a model is made of, and which targets take it.

    Args:
        source: `.onnx`, `.ort`, `.tflite`, `.mlpackage`, the folder of an artifact, and whatever
            `export` takes: other files and folders, `package.module:factory`, or a model object.
        input_shapes: shape per input name; dimensions that stay free are taken as 1.
        options: whatever else is to be said of a source that is exported first.
        targets: which to ask; none takes the least time.

    Raises:
        UsageError: there is no such path, input or target, or an extra is missing.
        ModelError: the file is damaged, or cannot be exported.
    """
    if input_shapes is not None:
        options = replace(options, input_shapes=input_shapes)
    return read(source, options).with_targets(targets)


def read(source: str | Path | Any, options: SourceOptions = _NOTHING_SAID) -> Reading:
    """The facts that need no target. Raises as `inspect` does."""
    inspected = _inspected(source, options)
    summary = summarize(inspected.network)
    memory = replace(summary.memory, arena_bytes=inspected.arena_bytes, arena_of=inspected.arena_of)
    parts = inspected.parts
    facts = ModelFacts(
        format=FORMAT,
        source=str(source) if isinstance(source, str | Path) else type(source).__name__,
        kind=inspected.kind,
        producer=inspected.producer,
        versions=inspected.versions,
        needs=inspected.needs,
        inputs=inspected.inputs,
        outputs=inspected.outputs,
        operators=summary.operators,
        parameters=summary.parameters,
        macs=summary.macs,
        memory=memory,
        precisions=summary.precisions,
        layers=summary.layers,
        size_bytes=sum(part.bytes for part in parts) if parts else None,
        parts=parts,
        remarks=(inspected.note,) if inspected.note and inspected.target != "apple" else (),
    )
    return Reading(facts, inspected)


def _inspected(source: Any, options: SourceOptions) -> Inspected:
    if not isinstance(source, str | Path) or is_reference(str(source)):
        return _by_export(source, options)
    path = _artifact_inside((options.base or Path()) / source)
    suffix = path.suffix.lower()
    if suffix in (*_FILES, _PACKAGE) and not path.exists():
        raise UsageError("no such file", where=str(source), remedy="Check the path of the model.")
    if suffix == _PACKAGE or (path / "Manifest.json").is_file():
        if options.input_shapes:
            raise UsageError(
                "the sizes of a package are fixed when it is built", where="--input-shape"
            )
        from edgewise.inspection.core_ml_file import inspect_package

        return inspect_package(path)
    if not path.is_file() or suffix not in _FILES:
        refuse_folder_of_models(path, (*_FILES, _PACKAGE))
        return _by_export(source if path.name == Path(source).name else path, options)
    try:
        return _of_file(path, suffix, options)
    except OSError as error:
        raise ModelError("cannot read the model", where=str(path), why=str(error)) from error


def _of_file(path: Path, suffix: str, options: SourceOptions) -> Inspected:
    if suffix == ".tflite":
        from edgewise.inspection.tflite_file import inspect_tflite

        return inspect_tflite(path, options.input_shapes)
    from edgewise.inspection.onnx_file import inspect_onnx, inspect_ort

    return (inspect_ort if suffix == ".ort" else inspect_onnx)(path, options)


def _by_export(source: Any, options: SourceOptions) -> Inspected:
    from edgewise.inspection.onnx_file import inspect_source

    try:
        return inspect_source(source, options)
    except (ModelError, UsageError) as error:
        if KINDS not in error.remedy:
            raise
        raise type(error)(
            error.what,
            where=error.where,
            why=error.why,
            remedy=f"{error.remedy} Artifacts can be inspected, too: .ort, .mlpackage, or the "
            "folder of a target in a build.",
        ) from error


def _artifact_inside(path: Path) -> Path:
    """The artifact that a folder with a manifest describes, else the path."""
    return load_artifact(path).path if (path / MANIFEST_NAME).is_file() else path
