"""What became of the scales that a quantized source had, where the target could not keep them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx_ir as ir

from edgewise.calibration.known import Known, known_range, known_scales
from edgewise.calibration.parameters import kept_parameters
from edgewise.calibration.scheme import QuantParams, Scheme
from edgewise.calibration.weights import WeightParameters
from edgewise.findings import Finding
from edgewise.graph import TensorQuantization, constant

_RULE = "calibration/known-ranges"
_NAMED = 3


def known_findings(
    model: ir.Model,
    known: Known,
    parameters: Mapping[str, QuantParams],
    weights: Mapping[str, WeightParameters],
    gone: Collection[str],
    scheme: Scheme,
) -> tuple[Finding, ...]:
    """One finding per tensor that a rule of the target gave another scale; one for all those whose
    scales the target's format cannot store, and one for all weights that were quantized anew.

    Args:
        model: float model in the form that was quantized.
        known: what its source chose.
        parameters, weights: what the target gets.
        gone: tensors that are not stored any more.
    """
    if not known:
        return ()
    number = scheme.activation
    ruled: list[Finding] = []
    other_form: list[str] = []
    for name, source in known.items():
        if number is None or name not in parameters or name in gone:
            continue
        stored = known_range(source).stored
        kept = None if stored is None else kept_parameters(stored, number)
        if kept is None or stored is None or kept.scale != stored.scale:
            other_form.append(name)
        elif kept != parameters[name]:
            ruled.append(_ruled(name, kept, parameters[name], scheme))
    findings = list(ruled)
    if other_form and number is not None:
        symmetric = "symmetric" if number.symmetric else "asymmetric"
        short = "" if number.scale_dtype == "float32" else f" with {number.scale_dtype} scales"
        message = (
            f"{_count(other_form, 'activation')} from the source's ranges, because {scheme.target} "
            f"stores {symmetric} {number.dtype}{short}"
        )
        findings.append(Finding(_RULE, "info", message))
    if anew := _weights_anew(model, known, weights):
        message = (
            f"{_count(anew, 'weight')} anew, because the target cannot store the source's integers"
        )
        findings.append(Finding(_RULE, "warning", message))
    return tuple(findings)


def _ruled(name: str, kept: QuantParams, given: QuantParams, scheme: Scheme) -> Finding:
    return Finding(
        _RULE,
        "info",
        f"tensor '{name}' has scale {given.scale:.6g} and zero point {given.zero_point} in place "
        f"of the source's {kept.scale:.6g} and {kept.zero_point}: operators of {scheme.target} "
        "prescribe it, or tie it to other tensors",
    )


def _weights_anew(
    model: ir.Model, known: Known, weights: Mapping[str, WeightParameters]
) -> list[str]:
    found = []
    for name, given in weights.items():
        array = constant(model.graph.initializers.get(name))
        source = known.get(name)
        if array is None or source is None:
            continue
        if known_scales(array, source, given.axis) is None and not _same(source, given):
            found.append(name)
    return found


def _same(source: TensorQuantization, given: WeightParameters) -> bool:
    scales = source.scale.reshape(-1).tolist()
    return scales == [channel.scale for channel in given.channels]


def _count(names: list[str], what: str) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_NAMED])
    more = ", ..." if len(names) > _NAMED else ""
    plural = "" if len(names) == 1 else "s"
    verb = "gets its scale" if len(names) == 1 else "get their scales"
    return f"{len(names)} {what}{plural} ({shown}{more}) {verb}"
