"""The arm target: QDQ or float ONNX in, ONNX tuned for ARM64 kernels out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgewise.calibration.scheme import Scheme
from edgewise.errors import ModelError, UsageError
from edgewise.findings import Finding
from edgewise.graph import is_quantized_model, node_label, prepare, to_bytes
from edgewise.graph.quantized import QUANTIZE
from edgewise.targets.arm.fusion import island_findings, optimize_as_on_arm
from edgewise.targets.arm.global_pool import mean_to_global_pool
from edgewise.targets.arm.integer_pad import pad_in_integers
from edgewise.targets.arm.schemes import SCHEMES, TARGET_NAME
from edgewise.targets.arm.session import SESSION_OPTIONS, ArmSession
from edgewise.targets.base import (
    LOCAL,
    About,
    Artifact,
    EmitOptions,
    Manifest,
    Session,
    TensorSignature,
)
from edgewise.targets.manifest import publish, tool_versions
from edgewise.targets.preconditions import (
    artifact_of,
    check_options,
    check_precision,
    refusal,
    scheme_of,
)


class ArmTarget:
    """Implements `edgewise.targets.base.Target`. Options: `batch` fixes the first dimension."""

    name = TARGET_NAME
    precisions = tuple(SCHEMES)
    options = ("batch",)

    def scheme(self, precision: str, options: Mapping[str, Any] | None = None) -> Scheme:
        return scheme_of(TARGET_NAME, SCHEMES, precision)

    def check_options(self, options: Mapping[str, Any], precision: str) -> None:
        self.scheme(precision)
        _batch(options)

    def check(
        self, model: ir.Model, precision: str | None = None, *, options: EmitOptions | None = None
    ) -> list[Finding]:
        try:
            return _findings(_tuned(model, batch=None))
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
        """Write `<name>.onnx` and `manifest.json`; a symbolic batch stays symbolic.

        Raises:
            UsageError: an unknown option, or a folder that cannot be written.
            UnsupportedPrecision: a precision other than `precisions`.
            ModelError: the model is float where `precision` is quantized or the other way round,
                or ONNX Runtime cannot take it (UnsupportedOperator names the node).
        """
        options = options or EmitOptions()
        wanted = self.scheme(precision)
        tuned = _tuned(model, batch=_batch(options.options))
        check_precision(tuned, wanted, self.precisions)
        findings = tuple(_findings(tuned))
        manifest = _manifest(tuned, wanted.precision, options)
        _sign(tuned, options.about)
        data = to_bytes(tuned)
        artifact = publish(
            out_dir, f"{options.name}.onnx", manifest, lambda path: _write(path, data)
        )
        return Artifact(artifact.path, artifact.manifest, findings)

    def open(
        self, artifact: Artifact | str | Path, device: str = "local", *, threads: int = 1
    ) -> Session:
        """Raises DeviceError for a device that is unavailable, or no place for ONNX Runtime."""
        known = artifact_of(TARGET_NAME, artifact)
        if device == LOCAL:
            return ArmSession(known.path, known.manifest, threads=threads)
        from edgewise.targets.validation.devices import DeviceSession

        return DeviceSession(known, device, "onnxruntime", threads=threads)


def _sign(model: ir.Model, about: About) -> None:
    """What the user says of the model: its documentation, and metadata by name."""
    model.doc_string = about.description or model.doc_string
    said = {"version": about.version, "author": about.author, "license": about.license}
    model.metadata_props.update({key: text for key, text in said.items() if text})


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _tuned(model: str | Path | ir.Model, batch: int | None) -> ir.Model:
    """The model as it will be written. Never changes `model`."""
    tuned = prepare(model, batch=batch)
    pooled, padded = mean_to_global_pool(tuned), pad_in_integers(tuned)
    if pooled or padded:
        common.RemoveUnusedNodesPass()(tuned)
    return tuned


def _batch(options: Mapping[str, Any]) -> int | None:
    check_options(TARGET_NAME, options, ArmTarget.options)
    batch = options.get("batch")
    if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
        raise UsageError(
            f"batch must be a positive whole number, not {batch!r}",
            where=f"[targets.{TARGET_NAME}]",
        )
    return batch


def _findings(model: ir.Model) -> list[Finding]:
    if not is_quantized_model(model):
        optimize_as_on_arm(model)  # raises where the runtime refuses the model
        return []
    return _format_findings(model) + island_findings(model)


def _format_findings(model: ir.Model) -> list[Finding]:
    odd = [
        node
        for node in model.graph
        if node.op_type == QUANTIZE and node.outputs[0].dtype is not ir.DataType.INT8
    ]
    if not odd:
        return []
    found = sorted({str(node.outputs[0].dtype) for node in odd})
    return [
        Finding(
            "arm/not-s8s8",
            "warning",
            f"{len(odd)} activations are {', '.join(found)} instead of INT8: ARM64 is fastest, and "
            "was verified, with signed activations and weights",
            node=node_label(odd[0]),
            remedy="Quantize with the scheme of the arm target.",
        )
    ]


def _manifest(model: ir.Model, precision: str, options: EmitOptions) -> Manifest:
    return Manifest(
        name=options.name,
        target=TARGET_NAME,
        precision=precision,
        inputs=tuple(_signature(value) for value in model.graph.inputs),
        outputs=tuple(_signature(value) for value in model.graph.outputs),
        files={},
        versions=tool_versions("onnx", "onnx-ir", "onnxruntime"),
        labels=options.labels,
        preprocessing=options.preprocessing,
        options={"session": dict(SESSION_OPTIONS)},
    )


def _signature(value: ir.Value) -> TensorSignature:
    """The file speaks the hub model's own names, layouts and dtypes."""
    if value.shape is None or value.dtype is None:
        raise ModelError(
            "the shape and dtype of inputs and outputs must be known",
            where=f"tensor '{value.name}'",
            remedy="Give fixed input shapes ([model] input_shapes, or --input-shape).",
        )
    shape = tuple(dim if isinstance(dim, int) else str(dim) for dim in value.shape)
    dtype = str(value.dtype.numpy())
    return TensorSignature(
        name=str(value.name),
        file_name=str(value.name),
        shape=shape,
        dtype=dtype,
        layout="NCHW" if len(shape) == 4 else "",
        hub_shape=shape,
        hub_dtype=dtype,
        perm=tuple(range(len(shape))),
    )


TARGET = ArmTarget()
