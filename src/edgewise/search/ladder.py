"""The steps of a search, those that cost nothing on the device first.

1. the project's own recipe;
2. methods of calibration, and of weight scales, ranked on calibration data; the best is scored;
3. repairs, each kept where it lowers the error of the outputs;
4. clipping ranges;
5. the smallest number of layers in float: most sensitive first, doubled until the contract is kept,
   then bisected. More layers in float are taken to drop less.

A step ends the search when the QDQ model keeps the contract, and the target's file, written to disk
and run, keeps it too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from edgewise.calibration import METHODS, Recipe
from edgewise.calibration.clipping import search_clipping
from edgewise.calibration.recipe import WeightMethod
from edgewise.calibration.repairs import REPAIRS
from edgewise.errors import EdgewiseError, ModelError
from edgewise.progress import SILENT, Progress
from edgewise.search.evaluator import Evaluator
from edgewise.search.layers import sensitive_layers
from edgewise.search.problem import Problem
from edgewise.search.result import Ended, SearchResult, nearest_contracts
from edgewise.search.scoring import gain
from edgewise.search.trial import Score, Trial
from edgewise.targets.validation.budget import keeps_accuracy

#: a repair or a clipping that gains less stays out: it would only complicate the recipe
_WORTH_DB = 0.1
#: of the time that is left, for the search of ranges
_CLIPPING_SHARE = 0.25


def search(problem: Problem, *, progress: Progress = SILENT) -> SearchResult:
    """The cheapest recipe that keeps the accuracy budgets of `problem.budget`.

    Returns:
        The choice with all trials; `met` is false where nothing kept the contract, and then
        `chosen` is the trial that drops least.

    Raises:
        DataError, ModelError: the data or the hub model cannot be used, or the project's own
            recipe cannot be carried out.
    """
    run = _Run(Evaluator(problem, progress), progress)
    for step in (_plain, _methods, _repairs, _clipping, _layers):
        step(run)
        if run.accepted is not None or problem.expired:
            break
    return run.result()


class _Run:
    """A search on its way: what was tried, and the best recipe so far by rank."""

    def __init__(self, evaluator: Evaluator, progress: Progress) -> None:
        self.evaluator = evaluator
        self.problem = evaluator.problem
        self.progress = progress
        self.trials: list[Trial] = []
        self.best = self.problem.start
        self.best_rank = -math.inf
        self.accepted: Trial | None = None
        self._first_records: Sequence[object] | None = None

    @property
    def ended(self) -> bool:
        return self.accepted is not None or self.problem.expired

    def rank(self, step: str, recipe: Recipe) -> float:
        """The SQNR of a recipe; minus infinity for one that cannot be carried out."""
        self.progress.step(f"search {self.problem.scheme.target}: {step}")
        start = time.perf_counter()
        value, reason = -math.inf, None
        try:
            value = self.evaluator.ranking(recipe)
        except EdgewiseError as error:
            reason = error.what
        self.trials.append(
            Trial(step, recipe, value, reason=reason, seconds=time.perf_counter() - start)
        )
        return value

    def score(self, step: str, recipe: Recipe) -> bool:
        """Score a recipe, in the place of its ranking; whether it keeps the contract."""
        self.progress.step(f"search {self.problem.scheme.target}: {step}")
        start = time.perf_counter()
        ranked = self._take_ranking(recipe)
        first = not any(trial.qdq is not None for trial in self.trials)
        try:
            found = self.evaluator.qdq(recipe, with_records=first)
            artifact = self._confirm(recipe, found.score)
        except ModelError as error:
            if first:
                raise
            self._add(replace(ranked, step=step, reason=error.what), start)
            return False
        trial = replace(ranked, step=step, qdq=found.score, artifact=artifact)
        if first:
            self._first_records = found.records
        elif self._first_records is not None and found.records is not None:
            value, interval = gain(self.problem.baseline, self._first_records, found.records)
            trial = replace(trial, gain=value, gain_ci95=interval)
        met = artifact is not None and self._keeps(artifact)
        trial = replace(trial, met=met)
        self._add(trial, start)
        if met:
            self.accepted = self.trials[-1]
        return met

    def result(self) -> SearchResult:
        """The choice, carried out."""
        scored = [trial for trial in self.trials if trial.drop is not None]
        chosen = self.accepted or min(scored, key=lambda t: (t.drop or 0.0, t.float_nodes))
        ended: Ended = "time" if self.problem.expired else "exhausted"
        made = self.evaluator.make(chosen.recipe)
        return SearchResult(
            ended="met" if self.accepted else ended,
            chosen=chosen,
            trials=tuple(self.trials),
            nearest=nearest_contracts(self.trials),
            hub=made.hub,
            statistics=made.statistics,
            quantized=made.quantized,
        )

    def _confirm(self, recipe: Recipe, qdq: Score) -> Score | None:
        """The score of the target's file, where the QDQ model leaves hope."""
        return self.evaluator.artifact(recipe).score if self._keeps(qdq) else None

    def _keeps(self, score: Score) -> bool:
        return keeps_accuracy(self.problem.budget, value=score.value, drop=score.drop)

    def _take_ranking(self, recipe: Recipe) -> Trial:
        """The trial that ranked the recipe, taken off the list; a new one where there is none."""
        for trial in self.trials:
            if trial.recipe == recipe and trial.qdq is None:
                self.trials.remove(trial)
                return trial
        return Trial("", recipe)

    def _add(self, trial: Trial, start: float) -> None:
        took = trial.seconds + time.perf_counter() - start
        self.trials.append(replace(trial, seconds=round(took, 3)))


def _plain(run: _Run) -> None:
    if not run.score("as the project says", run.problem.start):
        run.best_rank = run.evaluator.ranking(run.best)


def _methods(run: _Run) -> None:
    for name in METHODS:
        if name != run.problem.start.method:
            _try(run, f"method {name}", replace(run.problem.start, method=name))
    other: WeightMethod = "mse" if run.best.weights == "minmax" else "minmax"
    _try(run, f"{_named(run.best)}, weights {other}", replace(run.best, weights=other))
    _score_best(run, _named(run.best))


def _repairs(run: _Run) -> None:
    for name in REPAIRS:
        if name not in run.best.repairs:
            recipe = replace(run.best, repairs=(*run.best.repairs, name))
            _try(run, f"repair {name}", recipe, worth=_WORTH_DB)
    _score_best(run, _named(run.best))


def _clipping(run: _Run) -> None:
    """Ranges found on the quantized model itself."""
    evaluator, problem = run.evaluator, run.problem
    run.progress.step(f"search {problem.scheme.target}: clipping ranges")
    kept = problem.cache.read("clipping", run.best.key)
    if kept is None:
        made = evaluator.make(run.best)
        found = search_clipping(
            made.hub,
            made.statistics,
            problem.scheme,
            run.best,
            problem.calibration,
            deadline=problem.until(_CLIPPING_SHARE),
            threads=problem.threads,
        ).recipe.clipped
        kept = {"clipped": {name: list(limits) for name, limits in found.items()}}
        problem.cache.write(kept, "clipping", run.best.key)
    clipped = {name: (float(low), float(high)) for name, (low, high) in kept["clipped"].items()}
    if clipped:
        recipe = replace(run.best, clipped=clipped)
        _try(run, _named(recipe), recipe, worth=_WORTH_DB)
        _score_best(run, _named(run.best))


def _try(run: _Run, step: str, recipe: Recipe, *, worth: float = 0.0) -> None:
    """Rank a recipe, and go on from it where it is better."""
    if run.problem.expired:
        return
    rank = run.rank(step, recipe)
    if rank > run.best_rank + worth:
        run.best, run.best_rank = recipe, rank


def _score_best(run: _Run, step: str) -> None:
    scored = any(t.recipe == run.best and t.qdq is not None for t in run.trials)
    if not scored and not run.problem.expired:
        run.score(step, run.best)


def _layers(run: _Run) -> None:
    """Find the fewest of the most sensitive layers that have to stay in float."""
    run.progress.step(f"search {run.problem.scheme.target}: sensitivity")
    layers = sensitive_layers(run.evaluator, run.best)

    def keeps(count: int) -> bool:
        names = frozenset[str]().union(*layers[:count])
        kept, run.accepted = run.accepted, None
        recipe = replace(run.best, float_nodes=run.best.float_nodes | names)
        met = run.score(f"{count} of {len(layers)} layers in float", recipe)
        run.accepted = run.accepted or kept
        return met

    fewest(keeps, len(layers), lambda: run.problem.expired)


def fewest(keeps: Callable[[int], bool], most: int, expired: Callable[[], bool]) -> int | None:
    """The smallest count in 1..most that keeps the contract, taken to be monotonic: doubling, then
    bisection. Where time is over, the smallest found so far; None where none was."""
    low, high = 0, 1
    while high <= most and not expired():
        if keeps(high):
            break
        low, high = high, min(2 * high, most) if high < most else most + 1
    else:
        return None
    while high - low > 1 and not expired():
        middle = (low + high) // 2
        if keeps(middle):
            high = middle
        else:
            low = middle
    return high


def _named(recipe: Recipe) -> str:
    parts = [f"method {recipe.method}"]
    if recipe.weights != "minmax":
        parts.append(f"weights {recipe.weights}")
    parts += recipe.repairs
    if recipe.clipped:
        parts.append(f"{len(recipe.clipped)} ranges clipped")
    return ", ".join(parts)
