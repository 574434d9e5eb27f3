"""The arm target: QDQ or float ONNX in, ONNX or ORT format tuned for ARM64 kernels out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgewise.calibration.scheme import Scheme
from edgewise.data.notes import drop
from edgewise.errors import ModelError, UnsupportedPrecision
from edgewise.findings import Finding
from edgewise.graph import load, to_bytes
from edgewise.targets.arm.assembly import Assembled, assemble, file_findings, prepared
from edgewise.targets.arm.options import KNOWN_OPTIONS, ArmOptions, scheme_with
from edgewise.targets.arm.schemes import SCHEMES, TARGET_NAME, WITHOUT_KERNELS
from edgewise.targets.arm.session import ArmSession
from edgewise.targets.arm.session_options import ORT_SUFFIX, session_options
from edgewise.targets.arm.signatures import signature
from edgewise.targets.arm.verify_file import promises_of, verify_file
from edgewise.targets.base import (
    LOCAL,
    About,
    Artifact,
    EmitOptions,
    Feeds,
    Manifest,
    Session,
)
from edgewise.targets.manifest import publish, tool_versions
from edgewise.targets.preconditions import artifact_of, check_precision, refusal, scheme_of
from edgewise.targets.profiling import PartTimes


class ArmTarget:
    """Implements `edgewise.targets.base.Target`."""

    name = TARGET_NAME
    precisions = tuple(SCHEMES)
    options = KNOWN_OPTIONS

    def scheme(self, precision: str, options: Mapping[str, Any] | None = None) -> Scheme:
        """Raises UnsupportedPrecision, or UsageError for an option."""
        why = WITHOUT_KERNELS.get(precision)
        if why is not None:
            raise UnsupportedPrecision(
                f"the {TARGET_NAME} target does not offer '{precision}'",
                why=why,
                remedy=f"Choose one of {', '.join(SCHEMES)}.",
            )
        return scheme_with(scheme_of(TARGET_NAME, SCHEMES, precision), options or {})

    def check_options(self, options: Mapping[str, Any], precision: str) -> None:
        ArmOptions.of(options, self.scheme(precision, options))

    def check(
        self, model: ir.Model, precision: str | None = None, *, options: EmitOptions | None = None
    ) -> list[Finding]:
        """What stays in float, and what ONNX Runtime refuses.

        Raises UsageError, or UnsupportedPrecision, for what the options ask.
        """
        asked = ArmOptions()
        if precision is not None and options is not None:
            asked = ArmOptions.of(options.options, self.scheme(precision, options.options))
        try:
            assembled = assemble(prepared(model, asked), asked)
            _signatures(assembled.model)
            return file_findings(assembled, asked)
        except ModelError as error:
            return [refusal("arm/refused", error)]

    def emit(
        self,
        model: str | Path | ir.Model,
        out_dir: str | Path,
        precision: str = "fp32",
        *,
        options: EmitOptions | None = None,
    ) -> Artifact:
        """Write `<name>.onnx` and `manifest.json`, or with `ort_format` `<name>.ort`, the list of
        operators that a build needs, and `manifest.json`. A symbolic batch stays symbolic.

        Of `options.options`, those of `edgewise.targets.arm.options` are understood.

        Raises:
            UsageError: an unknown option, or a folder that cannot be written.
            UnsupportedPrecision: a precision other than `precisions`.
            ModelError: the model is float where `precision` is quantized or the other way round,
                or ONNX Runtime cannot take it (UnsupportedOperator names the node).
            InternalError: the finished file is not what the model says.
        """
        options = options or EmitOptions()
        wanted = self.scheme(precision, options.options)
        chosen = ArmOptions.of(options.options, wanted)
        ready = prepared(load(model), chosen)
        check_precision(ready, wanted, self.precisions)
        promises = promises_of(ready)
        assembled = assemble(ready, chosen)
        manifest = _manifest(assembled, wanted.precision, chosen, options)
        findings = tuple(file_findings(assembled, chosen))
        drop(assembled.model)
        _sign(assembled.model, options.about)
        content = to_bytes(assembled.model)
        verify_file(content, promises)
        artifact = _published(content, manifest, out_dir, options.beside)
        return Artifact(artifact.path, artifact.manifest, findings)

    def open(
        self, artifact: Artifact | str | Path, device: str = LOCAL, *, threads: int = 1
    ) -> Session:
        """Raises DeviceError for a device that is unavailable, or no place for ONNX Runtime."""
        known = artifact_of(TARGET_NAME, artifact)
        if device == LOCAL:
            return ArmSession(known.path, known.manifest, threads=threads)
        from edgewise.targets.validation.devices import DeviceSession

        return DeviceSession(known, device, "onnxruntime", threads=threads)

    def device_findings(self, artifact: Artifact, device: str) -> tuple[Finding, ...]:
        """What ONNX Runtime on the device fuses, and what it does not.

        Raises DeviceError, or ModelError where it refuses the file there.
        """
        from edgewise.targets.arm.device_fusion import device_findings

        return device_findings(artifact, device)

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
            UsageError: a file is in ORT format, or the device is emulated.
            ModelError: ONNX Runtime refuses a file, or fails at running it.
            DeviceError: the device fails.
        """
        from edgewise.targets.arm.profile import profile_parts

        return profile_parts(artifact, fp32, feeds, device=device, threads=threads)


def _published(
    content: bytes, manifest: Manifest, out_dir: str | Path, beside: Mapping[str, bytes]
) -> Artifact:
    """The ONNX file, or what it becomes in ORT format."""
    if not manifest.options.get("ort_format"):
        name = f"{manifest.name}.onnx"
        return publish(out_dir, name, manifest, lambda path: _write(path, content), beside)
    from edgewise.targets.arm.ort_format import convert

    name = f"{manifest.name}{ORT_SUFFIX}"
    made = convert(content, name)
    beside = {
        **beside,
        f"{manifest.name}.required_operators_and_types.config": made.required_operators.encode(),
    }
    return publish(out_dir, name, manifest, lambda path: _write(path, made.content), beside)


def _sign(model: ir.Model, about: About) -> None:
    """What the user says of the model: its documentation, and metadata by name."""
    model.doc_string = about.description or model.doc_string
    said = {"version": about.version, "author": about.author, "license": about.license}
    model.metadata_props.update({key: text for key, text in said.items() if text})


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _signatures(model: ir.Model) -> dict[str, Any]:
    return {
        "inputs": tuple(signature(value) for value in model.graph.inputs),
        "outputs": tuple(signature(value) for value in model.graph.outputs),
    }


def _manifest(
    assembled: Assembled, precision: str, chosen: ArmOptions, options: EmitOptions
) -> Manifest:
    return Manifest(
        name=options.name,
        target=TARGET_NAME,
        precision=precision,
        **_signatures(assembled.model),
        files={},
        versions=tool_versions("onnx", "onnx-ir", "onnxruntime"),
        labels=options.labels,
        preprocessing=options.preprocessing,
        options={
            **chosen.as_dict(),
            **({} if assembled.format is None else {"format": assembled.format}),
            "session": session_options(ort_format=chosen.ort_format),
        },
    )


TARGET = ArmTarget()
