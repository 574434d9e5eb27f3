"""The repairs by name, and how several of them follow one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import onnx_ir as ir

from edgewise.calibration.collect import collect_statistics
from edgewise.calibration.repairs.ada_round import ada_round
from edgewise.calibration.repairs.base import Repair, RepairInput
from edgewise.calibration.repairs.bias_correction import correct_biases
from edgewise.calibration.repairs.equalization import equalize
from edgewise.calibration.repairs.smooth_quant import smooth_quant
from edgewise.calibration.statistics import Statistics, model_hash
from edgewise.errors import UsageError
from edgewise.findings import Finding

#: every repair that a user can name
REPAIRS: Mapping[str, Repair] = MappingProxyType(
    {
        "equalize": equalize,
        "smooth_quant": smooth_quant,
        "ada_round": ada_round,
        "bias_correction": correct_biases,
    }
)


@dataclass(frozen=True, slots=True)
class Applied:
    """The model after all repairs, its statistics, and what was done."""

    model: ir.Model
    statistics: Statistics
    findings: tuple[Finding, ...] = ()


def check_repairs(names: Sequence[str]) -> None:
    """Raises UsageError for an unknown repair, and for one that is named twice."""
    for index, name in enumerate(names):
        if name not in REPAIRS:
            raise UsageError(f"unknown repair '{name}'", remedy=f"Choose of {', '.join(REPAIRS)}.")
        if name in names[:index]:
            raise UsageError(f"repair '{name}' is named twice", remedy="Name each repair once.")


def apply_repairs(model: ir.Model, names: Sequence[str], given: RepairInput) -> Applied:
    """The model after the named repairs, in their order, and statistics that belong to it.

    Args:
        model: hub model, never changed.
        names: keys of `REPAIRS`.
        given: `given.statistics` are those of `model`.

    Raises:
        UsageError: see `check_repairs`.
        ModelError, DataError: what collecting statistics, or quantizing, raises.
    """
    check_repairs(names)
    given.statistics.check_model(model)
    findings: list[Finding] = []
    for name in names:
        done = REPAIRS[name](model, given)
        findings += done.findings
        if done.model is model:
            continue
        model = done.model
        if done.moves_activations:
            statistics = collect_statistics(
                model, given.source, limit=given.limit, threads=given.threads
            )
        else:
            statistics = replace(given.statistics, model_hash=model_hash(model))
        given = replace(given, statistics=statistics)
    return Applied(model, given.statistics, tuple(findings))
