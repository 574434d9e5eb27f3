"""What a repair is: a rewrite of the float hub model that lets its quantized form keep more.

A repair never changes what the user compares with: the fp32 baseline stays the unrepaired model.
Some repairs leave the float function as it is (`equalize`, `smooth_quant`), others shift it so that
the quantized one comes out right (`bias_correction`, `ada_round`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import onnx_ir as ir

from edgewise.calibration.recipe import Recipe
from edgewise.calibration.scheme import Scheme
from edgewise.calibration.statistics import Statistics
from edgewise.data.source import DataSource
from edgewise.findings import Finding


@dataclass(frozen=True, slots=True)
class RepairInput:
    """What a repair may look at beside the model."""

    #: calibration data; walked as often as the repair needs
    source: DataSource
    #: of the model that the repair is given
    statistics: Statistics
    scheme: Scheme
    #: how the repaired model will be quantized
    recipe: Recipe
    #: use the first `limit` samples of the source only
    limit: int | None = None
    threads: int = 1
    #: `time.monotonic()` at which a repair that works layer by layer leaves the rest as it is
    deadline: float | None = None

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair gives back."""

    #: a new model, or the given one where nothing changed
    model: ir.Model
    #: names of the nodes whose constants changed
    changed: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    #: activations have other ranges now: statistics must be collected anew
    moves_activations: bool = False


class Repair(Protocol):
    """Rewrites a copy of the hub model; names of nodes and of activations survive.

    The given model is never changed. What looked possible and was not done is a finding with its
    reason (`declined`).
    """

    def __call__(self, model: ir.Model, given: RepairInput, /) -> Repaired: ...


def rule_of(repair: str) -> str:
    """The rule of the finding that says what a repair changed."""
    return f"calibration/{repair}".replace("_", "-")


def declined(repair: str, node: str, reason: str) -> Finding:
    """The finding for a place that a repair left alone."""
    return Finding(
        rule=f"{rule_of(repair)}-declined",
        severity="info",
        message=f"{repair} leaves it as it is: {reason}",
        node=node,
    )


def all_declined(repair: str, reasons: Mapping[str, Sequence[str]]) -> tuple[Finding, ...]:
    """One finding for each reason: the first of its nodes, and how many others there are."""
    return tuple(
        declined(repair, nodes[0], reason + (f", as {len(nodes) - 1} more" if nodes[1:] else ""))
        for reason, nodes in reasons.items()
    )


def without_names(reason: str) -> str:
    """The reason without what it quotes, so that places with the same one are told together."""
    return " ".join("".join(reason.split("'")[::2]).split())


def repaired(repair: str, nodes: Iterable[str], message: str) -> Finding:
    """The finding that says what a repair changed; the first node stands for all."""
    return Finding(
        rule=rule_of(repair),
        severity="info",
        message=message,
        node=next(iter(nodes), ""),
    )
