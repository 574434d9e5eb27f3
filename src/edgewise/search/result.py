"""How a search ended: what was chosen, all that was tried, and what can be met instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from edgewise.calibration import Statistics
from edgewise.calibration.quantize import Quantized
from edgewise.search.trial import Trial

#: `met`: the contract is kept; `exhausted`: nothing is left to try; `time`: the minutes are over
Ended = Literal["met", "exhausted", "time"]


@dataclass(frozen=True, slots=True)
class Nearest:
    """A contract that a trial keeps: the budget `accuracy_drop` would have to be."""

    accuracy_drop: float
    step: str
    float_nodes: int


@dataclass(frozen=True, slots=True)
class SearchResult:
    """`chosen` is the cheapest trial that keeps the contract, else the one with the least drop.

    `hub` is the hub model after the chosen repairs, `statistics` are its own.
    """

    ended: Ended
    chosen: Trial
    trials: tuple[Trial, ...]
    nearest: tuple[Nearest, ...]
    hub: ir.Model
    statistics: Statistics
    quantized: Quantized

    @property
    def met(self) -> bool:
        return self.ended == "met"


def nearest_contracts(trials: Sequence[Trial]) -> tuple[Nearest, ...]:
    """What can be had for how many operators in float: for each count that lowers the drop, the
    trial with the least."""
    found: list[Nearest] = []
    scored = [trial for trial in trials if trial.drop is not None]
    for trial in sorted(scored, key=lambda trial: (trial.float_nodes, trial.drop or 0.0)):
        drop = trial.drop or 0.0
        if not found or drop < found[-1].accuracy_drop:
            if found and found[-1].float_nodes == trial.float_nodes:
                found.pop()
            found.append(Nearest(drop, trial.step, trial.float_nodes))
    return tuple(found)
