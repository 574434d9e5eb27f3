"""Repairs as the front door applies them: where the project asks for any, and they have a use."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from edgewise.calibration import Recipe, Scheme, Statistics
from edgewise.calibration.quantize import Quantized
from edgewise.calibration.quantize_for import quantize_for
from edgewise.calibration.repairs import RepairInput, apply_repairs
from edgewise.data import DataSource
from edgewise.findings import Finding


@dataclass(frozen=True, slots=True)
class Float:
    """What quantization starts from: a float model, its statistics, and the data behind them."""

    model: ir.Model
    statistics: Statistics | None
    source: DataSource | None
    threads: int = 1


def repair_and_quantize(start: Float, scheme: Scheme, recipe: Recipe) -> Quantized:
    """The QDQ model of a recipe, whose repairs go before; their findings come first.

    Repairs are left out, with a finding, where the scheme leaves activations in float, and where
    there are no calibration data.

    Raises:
        EdgewiseError: see `apply_repairs` and `quantize_for`.
    """
    model, statistics = start.model, start.statistics
    findings: tuple[Finding, ...] = ()
    if recipe.repairs and (reason := _no_use(start, scheme)):
        findings = (_left_out(recipe, reason),)
    elif recipe.repairs and statistics is not None and start.source is not None:
        given = RepairInput(start.source, statistics, scheme, recipe, threads=start.threads)
        applied = apply_repairs(model, recipe.repairs, given)
        model, statistics, findings = applied.model, applied.statistics, applied.findings
    done = quantize_for(model, statistics, scheme, recipe)
    return Quantized(done.model, (*findings, *done.findings))


def _no_use(start: Float, scheme: Scheme) -> str:
    if not scheme.needs_statistics:
        return f"{scheme.target} {scheme.precision} leaves activations in float"
    if start.statistics is None or start.source is None:
        return "there are no calibration data"
    return ""


def _left_out(recipe: Recipe, reason: str) -> Finding:
    return Finding(
        rule="calibration/repairs-left-out",
        severity="warning",
        message=f"not repaired by {', '.join(recipe.repairs)}: {reason}",
    )
