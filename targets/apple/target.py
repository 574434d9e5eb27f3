"""The apple target: float or QDQ ONNX in, a Core ML ML Program (`.mlpackage`) out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from edgewise.calibration.scheme import Scheme
from edgewise.errors import EdgewiseError, ModelError, UnsupportedOperator
from edgewise.findings import Finding
from edgewise.graph import is_quantized_model
from edgewise.targets.apple.deployment import SYSTEMS, Need
from edgewise.targets.apple.fp16_scales import lossy_scales
from edgewise.targets.apple.legalize import LegalModel, legalize
from edgewise.targets.apple.options import KNOWN_OPTIONS, AppleOptions
from edgewise.targets.apple.quantized_form import examine
from edgewise.targets.apple.scheme import SCHEMES, format_needs
from edgewise.targets.apple.session import AppleSession, open_session
from edgewise.targets.base import Artifact, EmitOptions, Manifest, TensorSignature
from edgewise.targets.manifest import publish, tool_versions
from edgewise.targets.preconditions import (
    artifact_of,
    check_precision,
    refusal,
    scheme_of,
)

if TYPE_CHECKING:
    from edgewise.targets.apple.lower import Port

TARGET_NAME = "apple"
_STATES = Need("a state", "iOS18")


class AppleTarget:
    """Implements `edgewise.targets.base.Target`."""

    name = TARGET_NAME
    precisions = tuple(SCHEMES)
    options = KNOWN_OPTIONS

    def scheme(self, precision: str, options: Mapping[str, Any] | None = None) -> Scheme:
        return scheme_of(TARGET_NAME, SCHEMES, precision)

    def check_options(self, options: Mapping[str, Any], precision: str) -> None:
        AppleOptions.of(options, self.scheme(precision))

    def check(self, model: ir.Model) -> list[Finding]:
        """Every node that `emit` would refuse, the layers outside Core ML's quantized form, and
        what may keep the model off the Neural Engine."""
        from edgewise.targets.apple.lower import lower, refusals
        from edgewise.targets.apple.neural_engine import lint

        try:
            ready = _legalized(model)
        except ModelError as error:
            return [refusal("apple/refused", error)]
        refused = [_refusal(error) for error in refusals(ready, SYSTEMS[-1])]
        try:
            advice = _advice(ready.model)
        except ModelError:  # scales that are not constant: among the refusals already
            return refused
        if refused:
            return refused + advice
        program = lower(ready, SYSTEMS[-1]).program
        return advice + list(lint(program.functions["main"], narrowed=False).findings)

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
        wanted = scheme_of(TARGET_NAME, SCHEMES, precision)
        chosen = AppleOptions.of(options.options, wanted)
        ready = _legalized(model)
        check_precision(ready.model, wanted, self.precisions)
        from edgewise.targets.apple.neural_engine import lint
        from edgewise.targets.apple.oldest_system import lower_for_oldest
        from edgewise.targets.apple.package import Conversion

        needs = [*format_needs(wanted), *([_STATES] if ready.states else [])]
        fitted = lower_for_oldest(ready, needs, chosen.deployment_target)
        lowered = fitted.program
        inputs = tuple(_signature(port) for port in lowered.inputs)
        outputs = tuple(_signature(port) for port in lowered.outputs)
        with Conversion(lowered, chosen.compute) as conversion:
            conversion.sign(options.about)
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
                options={**conversion.describe(), "needs": fitted.describe()},
            )
            file_name = f"{options.name}.mlpackage"
            artifact = publish(out_dir, file_name, manifest, conversion.write)
        findings = (*_advice(ready.model), *lint(conversion.main).findings)
        return Artifact(artifact.path, artifact.manifest, findings)

    def open(
        self, artifact: Artifact | str | Path, device: str = "local", *, threads: int = 1
    ) -> AppleSession:
        """Open on `local` (Core ML on a Mac, the interpreter elsewhere) or `mac`.

        Raises DeviceError for another device, and for `mac` anywhere else.
        """
        known = artifact_of(TARGET_NAME, artifact)
        return open_session(known.path, known.manifest, device, threads)


def _legalized(model: str | Path | ir.Model) -> LegalModel:
    """The model as it will be lowered. Never changes `model`."""
    # coremltools takes seconds to import: only what writes a package pays for it
    from edgewise.targets.apple.table import is_known

    return legalize(model, is_known)


def _advice(model: ir.Model) -> list[Finding]:
    form = examine(model).findings() if is_quantized_model(model) else []
    return form + lossy_scales(model)


def _refusal(error: EdgewiseError) -> Finding:
    unsupported = isinstance(error, UnsupportedOperator)
    return refusal("apple/unsupported-operator" if unsupported else "apple/refused", error)


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
