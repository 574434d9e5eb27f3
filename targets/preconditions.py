"""What every target asks of its caller, refused by all of them in the same words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgewise.calibration.scheme import PRECISION_ALIASES, Scheme
from edgewise.errors import EdgewiseError, ModelError, UnsupportedPrecision, UsageError
from edgewise.findings import Finding
from edgewise.graph import activation_dtypes, is_quantized_model
from edgewise.targets.base import Artifact
from edgewise.targets.manifest import load_artifact


def scheme_of(target: str, schemes: Mapping[str, Scheme], precision: str) -> Scheme:
    """The scheme of a precision or of its alias. Raises UnsupportedPrecision."""
    found = schemes.get(PRECISION_ALIASES.get(precision, precision))
    if found is None:
        raise UnsupportedPrecision(
            f"the {target} target does not offer '{precision}'",
            remedy=f"Choose one of {', '.join(schemes)}.",
        )
    return found


def check_precision(model: ir.Model, scheme: Scheme, precisions: Iterable[str]) -> None:
    """Raises ModelError when the model is float where the scheme is quantized, or the reverse, or
    quantizes activations where the scheme does not, or the reverse."""
    quantized = is_quantized_model(model)
    integers = scheme.weight is not None
    if integers and not quantized:
        floats = " or ".join(name for name in precisions if name.startswith("fp"))
        raise ModelError(
            f"precision {scheme.precision} needs a quantized model",
            why="the model has no QuantizeLinear or DequantizeLinear",
            remedy=f"Calibrate and quantize it first, or ask for {floats}.",
        )
    if quantized and not integers:
        raise ModelError(
            f"precision {scheme.precision} needs a float model",
            why="the model holds QuantizeLinear or DequantizeLinear",
            remedy="Emit the model from before quantization, or ask for precision w8a8.",
        )
    if integers:
        _check_activations(model, scheme)


def _check_activations(model: ir.Model, scheme: Scheme) -> None:
    stored = activation_dtypes(model)
    if scheme.activation is None and stored:
        raise ModelError(
            f"precision {scheme.precision} quantizes weights only",
            why=f"the model stores activations as {', '.join(sorted(stored))}",
            remedy="Quantize for this precision, or ask for w8a8 or w8a16.",
        )
    if scheme.activation is not None and not stored:
        raise ModelError(
            f"precision {scheme.precision} needs quantized activations",
            why="the model quantizes weights only",
            remedy=f"Quantize for {scheme.precision}, or ask for a precision such as w8 or w4.",
        )


def check_options(target: str, options: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raises UsageError for a key of [targets.<name>] that the target does not know."""
    allowed = sorted(known)
    for name in sorted(set(options) - set(allowed)):
        raise UsageError(
            f"unknown option '{name}'",
            where=f"[targets.{target}]",
            remedy=f"Known options: {', '.join(allowed)}.",
        )


def artifact_of(target: str, artifact: Artifact | str | Path) -> Artifact:
    """The artifact, read from disk where a path is given. Raises UsageError for a foreign one."""
    known = artifact if isinstance(artifact, Artifact) else load_artifact(artifact)
    if known.target != target:
        raise UsageError(
            f"the artifact was made for {known.target}",
            where=str(known.path),
            remedy=f"Open it with the target '{known.target}'.",
        )
    return known


def refusal(rule: str, error: EdgewiseError) -> Finding:
    """The finding of severity `error` that foretells what `emit` would raise."""
    return Finding(
        rule=rule,
        severity="error",
        message=f"{error.what}: {error.why}" if error.why else error.what,
        node=getattr(error, "node", error.where),
        remedy=error.remedy,
    )
