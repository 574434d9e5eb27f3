"""The android target: ONNX (float, or QDQ int8) to a `.tflite` file, and LiteRT to run it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgewise.calibration.scheme import Scheme
from edgewise.errors import InternalError, ModelError
from edgewise.findings import Finding
from edgewise.graph import activation_dtypes
from edgewise.targets.android import runtime
from edgewise.targets.android.admission import check_size
from edgewise.targets.android.assembly import assemble
from edgewise.targets.android.compare import compare_layers
from edgewise.targets.android.delegates.placement import Placement, ask_runtime
from edgewise.targets.android.delegates.plugin import Plugin, plugin_findings
from edgewise.targets.android.expectations import expectations
from edgewise.targets.android.flatbuffer import serialize
from edgewise.targets.android.half import store_as_half
from edgewise.targets.android.legalize import legalize
from edgewise.targets.android.lower import Lowered, lower
from edgewise.targets.android.metadata import METADATA_NAME, append_labels, build_metadata
from edgewise.targets.android.options import KNOWN_OPTIONS, AndroidOptions, block_size
from edgewise.targets.android.remarks import findings_of
from edgewise.targets.android.scheme import SCHEMES, W4, w4
from edgewise.targets.android.session import LiteRtSession
from edgewise.targets.android.verify import verify
from edgewise.targets.android.verify_file import verify_file
from edgewise.targets.base import (
    LOCAL,
    Artifact,
    EmitOptions,
    Feeds,
    Manifest,
    Session,
    TensorSignature,
)
from edgewise.targets.layerwise import LayerReport
from edgewise.targets.manifest import publish, tool_versions
from edgewise.targets.preconditions import artifact_of, check_precision, scheme_of
from edgewise.targets.profiling import PartTimes


class AndroidTarget:
    """`edgewise.targets.base.Target` for TFLite."""

    name = "android"
    precisions = tuple(SCHEMES)
    options = KNOWN_OPTIONS

    def scheme(self, precision: str, options: Mapping[str, Any] | None = None) -> Scheme:
        """How the QDQ model must be quantized.

        Raises UnsupportedPrecision, or UsageError for a block size that no kernel takes.
        """
        scheme = scheme_of(self.name, SCHEMES, precision)
        return w4(block_size(options)) if scheme is W4 and options else scheme

    def check_options(self, options: Mapping[str, Any], precision: str) -> None:
        AndroidOptions.of(options, self.scheme(precision))

    def check(
        self, model: ir.Model, precision: str | None = None, *, options: EmitOptions | None = None
    ) -> list[Finding]:
        """Remarks on a float or QDQ model; every node that `emit` will refuse is an `error`.

        Raises ModelError when the model cannot be prepared (a shape that is not static).
        """
        legal, declined = legalize(model)
        return list(findings_of(lower(legal, declined)))

    def emit(
        self,
        model: str | Path | ir.Model,
        out_dir: str | Path,
        precision: str = "fp32",
        *,
        options: EmitOptions | None = None,
    ) -> Artifact:
        """Write `<name>.tflite` and `manifest.json` into `out_dir`.

        Of `options.options`, those of `edgewise.targets.android.options` are understood.

        Raises:
            UnsupportedPrecision, UsageError: an unknown precision or option.
            UnsupportedOperator, ModelError: before anything is written.
            InternalError: the finished file breaks a rule, or LiteRT refuses it.
        """
        options = options or EmitOptions()
        scheme = self.scheme(precision, options.options)
        chosen = AndroidOptions.of(options.options, scheme)

        def admit(loaded: ir.Model) -> None:
            check_size(loaded, scheme, self.precisions)

        def check(prepared: ir.Model) -> None:
            check_precision(prepared, scheme, self.precisions)
            _check_activation_bits(prepared, scheme)

        assembled = assemble(model, chosen, options.preprocessing, check, admit=admit)
        lowered = assembled.lowered
        if chosen.float32_below is not None:
            for graph in lowered.graph.all_graphs():
                kept = store_as_half(graph, chosen.float32_below)
                lowered = replace(lowered, findings=(*lowered.findings, *kept))
        verify(lowered.graph)
        expected = expectations(assembled.legal, lowered.stands_for, lowered.graph)
        options = replace(options, preprocessing=assembled.preprocessing)
        content = _content(lowered, options)
        verify_file(content, expected)
        placement = _try_in_runtime(lowered, content)
        manifest = Manifest(
            name=options.name,
            target=self.name,
            precision=scheme.precision,
            inputs=_named(lowered, inputs=True),
            outputs=_named(lowered, inputs=False),
            files={},
            versions=tool_versions("ai-edge-litert", "onnx", "onnx-ir"),
            labels=tuple(options.labels),
            preprocessing=options.preprocessing,
            options=chosen.as_dict(),
        )
        artifact = publish(
            out_dir,
            f"{options.name}.tflite",
            manifest,
            lambda path: _write(path, content),
            options.beside,
        )
        findings = findings_of(lowered, placement, chosen.delegates)
        if chosen.plugin is not None:
            findings += tuple(plugin_findings(artifact.path, Plugin.of(chosen.plugin)))
        return replace(artifact, findings=findings)

    def open(
        self, artifact: Artifact | str | Path, device: str = LOCAL, *, threads: int = 1
    ) -> Session:
        """Load the artifact from disk into LiteRT. Raises DeviceError."""
        known = artifact_of(self.name, artifact)
        if device == LOCAL:
            return LiteRtSession(known, threads)
        from edgewise.targets.validation.devices import DeviceSession

        return DeviceSession(known, device, "litert", threads=threads)

    def compare_layers(
        self, model: ir.Model, artifact: Artifact, feeds: Iterable[Feeds], *, threads: int = 1
    ) -> LayerReport:
        """Each layer of the file, fed with what the QDQ model has there.

        Raises:
            UsageError: the artifact's options leave nothing to compare layer by layer.
            ModelError: the file cannot be read, or was not emitted from this model.
        """
        scheme = self.scheme(artifact.manifest.precision)
        return compare_layers(model, artifact, scheme, feeds, threads=threads)

    def profile(
        self,
        artifact: Artifact,
        fp32: Artifact | None,
        feeds: Feeds,
        *,
        device: str = LOCAL,
        threads: int = 1,
    ) -> PartTimes:
        """The time of every part of the file, and of the same part of the fp32 file.

        Raises:
            UsageError: the batch of a file is free, or the device is emulated.
            ModelError: a file cannot be read.
            DeviceError: LiteRT refuses a part, or the device fails.
        """
        from edgewise.targets.android.profile import profile_parts

        return profile_parts(artifact, fp32, feeds, device=device, threads=threads)


def _check_activation_bits(model: ir.Model, scheme: Scheme) -> None:
    """Raises ModelError where activations are wider or narrower than the precision says. Single
    tensors of 8 bits are welcome in a model of 16."""
    if scheme.activation is None:
        return
    stored = activation_dtypes(model)
    wide = any(name.endswith("16") for name in stored)
    if wide != scheme.activation.dtype.endswith("16"):
        raise ModelError(
            f"precision {scheme.precision} needs {scheme.activation.dtype} activations",
            why=f"the model stores them as {', '.join(sorted(stored))}",
            remedy=f"Ask for precision {'w8a16' if wide else 'w8a8'}, or quantize again.",
        )


def _content(lowered: Lowered, options: EmitOptions) -> bytes:
    metadata = build_metadata(options, lowered.inputs, lowered.outputs)
    content = serialize(lowered.graph, {METADATA_NAME: metadata})
    return append_labels(content, options.labels) if options.labels else content


def _try_in_runtime(lowered: Lowered, content: bytes) -> Placement:
    """Load the finished file, and note which operators XNNPACK takes."""
    try:
        return ask_runtime(lowered.graph, runtime.load(content, threads=1))
    except runtime.LoadFailure as failure:
        raise InternalError(
            "LiteRT refuses the finished file",
            why=str(failure),
            remedy="Please report this with the model.",
        ) from failure


def _named(lowered: Lowered, *, inputs: bool) -> tuple[TensorSignature, ...]:
    """The signatures with the names that the writer gave the tensors."""
    signatures = lowered.inputs if inputs else lowered.outputs
    tensors = lowered.graph.inputs if inputs else lowered.graph.outputs
    return tuple(
        replace(signature, file_name=tensor.name)
        for signature, tensor in zip(signatures, tensors, strict=True)
    )


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
