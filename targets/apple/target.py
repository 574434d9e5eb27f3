"""The apple target: float or QDQ ONNX in, a Core ML ML Program (`.mlpackage`) out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from edgewise.calibration.scheme import Scheme
from edgewise.errors import EdgewiseError, ModelError, UnsupportedOperator, UsageError
from edgewise.findings import Finding
from edgewise.graph import is_quantized_model, prepare
from edgewise.targets.apple import scheme as schemes
from edgewise.targets.apple.legalize import legalize
from edgewise.targets.apple.lint import lint
from edgewise.targets.apple.quantized_form import examine
from edgewise.targets.apple.session import AppleSession, open_session
from edgewise.targets.base import Artifact, EmitOptions, Manifest, TensorSignature
from edgewise.targets.manifest import load_artifact, publish, tool_versions

if TYPE_CHECKING:
    from edgewise.targets.apple.lower import Port

TARGET_NAME = "apple"
_COMPUTE = ("fp16", "fp32")


class AppleTarget:
    """Implements `edgewise.targets.base.Target`.

    Options: `compute` (`fp16` or `fp32`) is the type of the floating-point parts of a w8a8
    package. The Neural Engine computes in fp16 only, so that is the default; scales are then
    stored rounded to fp16. With `fp32` they are exactly those of the model.
    """

    name = TARGET_NAME
    precisions = schemes.PRECISIONS

    def scheme(self, precision: str) -> Scheme:
        return schemes.scheme(precision)

    def check(self, model: ir.Model) -> list[Finding]:
        """Every node that `emit` would refuse, the layers outside Core ML's quantized form, and
        what may keep the model off the Neural Engine."""
        from edgewise.targets.apple.lower import refusals

        try:
            ready = _legalized(model)
        except ModelError as error:
            return [_refused(error)]
        refused = [_refused(error) for error in refusals(ready)]
        try:
            return refused + _advice(ready)
        except ModelError:  # scales that are not constant: among the refusals already
            return refused

    def emit(
        self,
        model: str | Path | ir.Model,
        out_dir: str | Path,
        precision: str = "fp32",
        *,
        options: EmitOptions | None = None,
    ) -> Artifact:
        """Write `<name>.mlpackage` and `manifest.json`, for batch 1.

        Raises:
            UsageError: an unknown option, or a folder that cannot be written.
            UnsupportedPrecision: a precision other than `precisions`.
            UnsupportedOperator: Core ML cannot express a node.
            ModelError: the model is float where `precision` is quantized or the other way round,
                or has inputs that Core ML has not.
        """
        options = options or EmitOptions()
        wanted = schemes.scheme(precision)
        compute = _compute(wanted, options.options)
        ready = _legalized(model)
        _check_precision(ready, wanted)
        # coremltools takes seconds to import: only what writes a package pays for it
        from edgewise.targets.apple.lower import lower
        from edgewise.targets.apple.package import Conversion

        lowered = lower(ready)
        inputs = tuple(_signature(port) for port in lowered.inputs)
        outputs = tuple(_signature(port) for port in lowered.outputs)
        with Conversion(lowered, compute) as conversion:
            manifest = Manifest(
                name=options.name,
                target=TARGET_NAME,
                precision=wanted.precision,
                inputs=inputs,
                outputs=outputs,
                files={},
                versions=tool_versions("coremltools", "onnx", "onnx-ir"),
                labels=options.labels,
                preprocessing=options.preprocessing,
                options=conversion.describe(),
            )
            file_name = f"{options.name}.mlpackage"
            artifact = publish(out_dir, file_name, manifest, conversion.write)
        return Artifact(artifact.path, artifact.manifest, tuple(_advice(ready)))

    def open(
        self, artifact: Artifact | str | Path, device: str = "local", *, threads: int = 1
    ) -> AppleSession:
        """Open on `local` (Core ML on a Mac, the interpreter elsewhere) or `mac`.

        Raises DeviceError for another device, and for `mac` anywhere else.
        """
        known = artifact if isinstance(artifact, Artifact) else load_artifact(artifact)
        if known.target != TARGET_NAME:
            raise UsageError(
                f"the artifact was made for {known.target}",
                where=str(known.path),
                remedy=f"Open it with the target '{known.target}'.",
            )
        return open_session(known.path, known.manifest, device, threads)


def _legalized(model: str | Path | ir.Model) -> ir.Model:
    """The model as it will be lowered. Never changes `model`."""
    ready = prepare(model, batch=1)
    legalize(ready)
    return ready


def _advice(model: ir.Model) -> list[Finding]:
    form = examine(model).findings() if is_quantized_model(model) else []
    return form + lint(model)


def _refused(error: EdgewiseError) -> Finding:
    unsupported = isinstance(error, UnsupportedOperator)
    return Finding(
        rule="apple/unsupported-operator" if unsupported else "apple/refused",
        severity="error",
        message=f"{error.what}: {error.why}" if error.why else error.what,
        node=error.node if isinstance(error, UnsupportedOperator) else error.where,
        remedy=error.remedy,
    )


def _compute(wanted: Scheme, options: Mapping[str, Any]) -> str:
    unknown = sorted(set(options) - {"compute"})
    if unknown:
        raise UsageError(
            f"unknown option '{unknown[0]}'",
            where=f"[targets.{TARGET_NAME}]",
            remedy="Known options: compute.",
        )
    natural = "fp32" if wanted.precision == "fp32" else "fp16"
    compute = options.get("compute", natural)
    if compute not in _COMPUTE:
        raise UsageError(
            f"compute must be one of {', '.join(_COMPUTE)}, not {compute!r}",
            where=f"[targets.{TARGET_NAME}]",
        )
    if not wanted.is_quantized and compute != natural:
        raise UsageError(
            f"compute = '{compute}' contradicts precision {wanted.precision}",
            where=f"[targets.{TARGET_NAME}]",
            remedy=f"Leave it out, or ask for precision {compute}.",
        )
    return str(compute)


def _check_precision(model: ir.Model, wanted: Scheme) -> None:
    quantized = is_quantized_model(model)
    if wanted.is_quantized and not quantized:
        raise ModelError(
            f"precision {wanted.precision} needs a quantized model",
            why="the model holds no QuantizeLinear",
            remedy="Quantize it first, or ask for precision fp16 or fp32.",
        )
    if quantized and not wanted.is_quantized:
        raise ModelError(
            f"precision {wanted.precision} needs a float model",
            why="the model holds QuantizeLinear or DequantizeLinear",
            remedy="Emit the model from before quantization, or ask for precision w8a8.",
        )


def _signature(port: Port) -> TensorSignature:
    """Names and element types of both sides; layouts stay those of the model."""
    value, hub_shape = port.value, port.model_shape
    return TensorSignature(
        name=str(value.name),
        file_name=port.file_name,
        shape=port.shape,
        dtype=port.dtype,
        layout="NCHW" if len(hub_shape) == 4 else "",
        hub_shape=hub_shape,
        hub_dtype=str(value.dtype.numpy()) if value.dtype is not None else port.dtype,
        perm=tuple(range(len(hub_shape))),
    )
