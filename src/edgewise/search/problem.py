"""What a search is given: one target, its limits, and how long it may take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from edgewise.calibration import Recipe, Scheme, Statistics
from edgewise.data import DataSource
from edgewise.search.trial_cache import TrialCache
from edgewise.targets import EmitOptions, Target
from edgewise.targets.validation import Baseline, Budget

#: calibration examples on which candidates are ranked before labels are looked at
RANKING_EXAMPLES = 32


@dataclass(frozen=True, slots=True)
class Problem:
    """One target's search.

    Candidates are ranked by their outputs' error on calibration data; the labels of `baseline`
    only decide whether the contract is met, so that few choices are fitted to them.
    """

    hub: ir.Model
    statistics: Statistics
    scheme: Scheme
    target: Target
    options: EmitOptions
    calibration: DataSource
    #: what the hub model gives on the evaluation data; it has a metric
    baseline: Baseline
    budget: Budget
    #: what the project asks for; every other recipe starts from it
    start: Recipe
    #: an empty folder for artifacts that are tried
    scratch: Path
    #: `time.monotonic()` at which no new trial begins
    deadline: float
    cache: TrialCache
    threads: int = 1

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self.deadline

    def until(self, share: float) -> float:
        """`time.monotonic()` when this share of the time that is left will be over."""
        now = time.monotonic()
        return now + share * max(self.deadline - now, 0.0)
