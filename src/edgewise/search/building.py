"""The search as a stage of a build: whom it serves, how long, and what it remarks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from edgewise.calibration import Recipe, Statistics, model_hash
from edgewise.data import DataSource
from edgewise.findings import Finding
from edgewise.plan import Plan, TargetPlan
from edgewise.progress import Progress
from edgewise.search.ladder import search
from edgewise.search.problem import Problem
from edgewise.search.result import Nearest, SearchResult
from edgewise.search.trial_cache import TrialCache, trials_folder
from edgewise.targets import EmitOptions
from edgewise.targets.validation import Baseline

#: contracts that a finding names
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Searches:
    """The searches of one build: their minutes are shared, and what one leaves goes to the rest."""

    plan: Plan
    ends: float

    @classmethod
    def of(cls, plan: Plan) -> Searches | None:
        """None where the project asks for no search."""
        table = plan.project.search
        return None if table is None else cls(plan, time.monotonic() + 60 * table.max_minutes)

    def serves(self, target: TargetPlan) -> bool:
        """Whether there is something to choose: activations are quantized."""
        return target.scheme.needs_statistics

    def deadline(self, target: TargetPlan) -> float:
        """An equal share of what is left, with the targets that are still to come."""
        names = [plan.name for plan in self.plan.targets if self.serves(plan)]
        left = len(names) - names.index(target.name)
        now = time.monotonic()
        return now + max(self.ends - now, 0.0) / left


@dataclass(frozen=True, slots=True)
class Subject:
    """What a target's search works on, see `Problem`."""

    hub: ir.Model
    statistics: Statistics
    calibration: DataSource
    baseline: Baseline
    options: EmitOptions
    scratch: Path
    threads: int


def find(
    searches: Searches, target: TargetPlan, subject: Subject, start: Recipe, progress: Progress
) -> SearchResult:
    """Search for one target. Raises what `search` raises."""
    problem = Problem(
        hub=subject.hub,
        statistics=subject.statistics,
        scheme=target.scheme,
        target=target.target,
        options=subject.options,
        calibration=subject.calibration,
        baseline=subject.baseline,
        budget=target.budget,
        start=start,
        scratch=subject.scratch,
        deadline=searches.deadline(target),
        cache=TrialCache(trials_folder(), _depends_on(target, subject)),
        threads=subject.threads,
    )
    return search(problem, progress=progress)


def _depends_on(target: TargetPlan, subject: Subject) -> str:
    """What all figures of the search depend on."""
    baseline = subject.baseline
    metric = "" if baseline.metric is None else baseline.metric.name
    return "\0".join(
        (
            model_hash(subject.hub),
            subject.statistics.data_hash,
            baseline.source.fingerprint,
            metric,
            repr(_ordered(target)),
        )
    )


def remarks(result: SearchResult, limit: float | None) -> tuple[Finding, ...]:
    """What the search has to say: what was chosen, or what can be had instead."""
    scored = sum(trial.qdq is not None for trial in result.trials)
    tried = f"{len(result.trials)} recipes tried, {scored} on the evaluation data"
    if result.met:
        return (
            Finding("search/found", "info", f"the search chose: {result.chosen.step} ({tried})"),
        )
    why = "time was over" if result.ended == "time" else "nothing was left to try"
    asked = "the accuracy budget" if limit is None else f"accuracy_drop = {limit:g}"
    return (
        Finding(
            rule="search/not-met",
            severity="warning",
            message=f"no recipe keeps {asked} ({tried}; {why}); the one that drops least was "
            f"taken: {result.chosen.step}",
            remedy=f"Budgets that can be met: {_contracts(result.nearest)}; or choose w8a16, fp16 "
            "or another precision.",
        ),
    )


def _contracts(nearest: Sequence[Nearest]) -> str:
    return "; ".join(
        f"accuracy_drop = {_upwards(found.accuracy_drop):g} with {found.float_nodes} operators in "
        f"float ({found.step})"
        for found in nearest[-_NAMED:]
    )


def _upwards(drop: float) -> float:
    """Rounded to four decimals, so that the contract holds as it is printed."""
    rounded = round(drop, 4)
    return rounded if rounded >= drop else round(rounded + 1e-4, 4)


def _ordered(target: TargetPlan) -> object:
    """The scheme, with its sets in a fixed order: `repr` of a set follows the hash seed."""
    scheme = target.scheme
    return [
        (name, sorted(value) if isinstance(value, frozenset) else value)
        for name in scheme.__slots__
        if (value := getattr(scheme, name)) is not None
    ]
