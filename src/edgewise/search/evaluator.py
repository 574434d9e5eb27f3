"""Recipes carried out: repaired, quantized, ranked, scored, and written as the target's file.

Each figure is kept (see `trial_cache`), and models are made only where a figure is missing.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import onnx_ir as ir

from edgewise.calibration import Recipe, Statistics
from edgewise.calibration.quantize import Quantized
from edgewise.calibration.quantize_for import quantize_for
from edgewise.calibration.repairs import Applied, RepairInput, apply_repairs
from edgewise.data.source import Array, Sample
from edgewise.graph import OrtSession
from edgewise.progress import Progress
from edgewise.search.problem import RANKING_EXAMPLES, Problem
from edgewise.search.scoring import Scored, score
from edgewise.search.trial import score_from
from edgewise.targets import EmitOptions
from edgewise.targets.validation.agreement import Agreement

#: of the time that is left, for one repair that works layer by layer
_REPAIR_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Made:
    """A recipe carried out."""

    hub: ir.Model
    statistics: Statistics
    quantized: Quantized


class Evaluator:
    """The figures of recipes for one problem."""

    def __init__(self, problem: Problem, progress: Progress) -> None:
        self.problem = problem
        self._progress = progress
        self._applied: tuple[str, Applied] | None = None
        self._made: tuple[str, Made] | None = None
        self._examples: list[tuple[Sample, dict[str, Array]]] | None = None

    def make(self, recipe: Recipe) -> Made:
        """The QDQ model of a recipe. Raises what the repairs and the quantization raise."""
        if self._made is None or self._made[0] != recipe.key:
            applied = self._repair(recipe)
            scheme = self.problem.scheme
            done = quantize_for(applied.model, applied.statistics, scheme, recipe)
            done = replace(done, findings=(*applied.findings, *done.findings))
            self._made = recipe.key, Made(applied.model, applied.statistics, done)
        return self._made[1]

    def ranking(self, recipe: Recipe) -> float:
        """SQNR in dB of the outputs on calibration examples; infinite where all are equal."""

        def compute() -> float:
            session = OrtSession(self.make(recipe).quantized.model, threads=self.problem.threads)
            agreement = Agreement()
            for sample, expected in self.examples():
                agreement.observe(expected, session.run(sample.feeds), sample.name)
            if agreement.not_finite:
                return -math.inf
            return math.inf if agreement.sqnr_db is None else agreement.sqnr_db

        kept = self.problem.cache.read("ranking", recipe.key)
        if kept is not None:
            return float(kept["sqnr_db"])
        value = compute()
        self.problem.cache.write({"sqnr_db": value}, "ranking", recipe.key)
        return value

    def qdq(self, recipe: Recipe, *, with_records: bool = False) -> Scored:
        """The QDQ model in ONNX Runtime on the evaluation data."""

        def compute() -> Scored:
            session = OrtSession(self.make(recipe).quantized.model, threads=self.problem.threads)
            return score(session, self.problem.baseline, "trying", self._progress)

        return self._scored("qdq", recipe, compute, with_records=with_records)

    def artifact(self, recipe: Recipe) -> Scored:
        """The target's file, as written to disk, on the evaluation data."""

        def compute() -> Scored:
            problem = self.problem
            folder = problem.scratch / f"trial-{recipe.key[:16]}"
            try:
                artifact = problem.target.emit(
                    self.make(recipe).quantized.model,
                    folder,
                    problem.scheme.precision,
                    options=problem.options,
                )
                session = problem.target.open(artifact, threads=problem.threads)
                try:
                    return score(session, problem.baseline, "confirming", self._progress)
                finally:
                    session.close()
            finally:
                shutil.rmtree(folder, ignore_errors=True)

        return self._scored("artifact", recipe, compute)

    def examples(self) -> list[tuple[Sample, dict[str, Array]]]:
        """Calibration examples for ranking, with what the hub model gives for each."""
        if self._examples is None:
            session = OrtSession(self.problem.hub, threads=self.problem.threads, optimize="all")
            first = islice(self.problem.calibration, RANKING_EXAMPLES)
            self._examples = [(sample, session.run(sample.feeds)) for sample in first]
        return self._examples

    def repair_input(self, recipe: Recipe) -> RepairInput:
        """What repairs may look at, and a share of the time that is left."""
        problem = self.problem
        return RepairInput(
            source=problem.calibration,
            statistics=problem.statistics,
            scheme=problem.scheme,
            recipe=recipe,
            threads=problem.threads,
            deadline=problem.until(_REPAIR_SHARE),
        )

    def _repair(self, recipe: Recipe) -> Applied:
        """Repairs see what stays in float, so a new choice of layers repairs anew."""
        if not recipe.repairs:
            return Applied(self.problem.hub, self.problem.statistics)
        key = replace(recipe, clipped={}).key
        if self._applied is None or self._applied[0] != key:
            done = apply_repairs(self.problem.hub, recipe.repairs, self.repair_input(recipe))
            self._applied = key, done
        return self._applied[1]

    def _scored(
        self,
        kind: str,
        recipe: Recipe,
        compute: Callable[[], Scored],
        *,
        with_records: bool = False,
    ) -> Scored:
        parts = kind, recipe.key, _options_text(self.problem.options) if kind == "artifact" else ""
        kept = self.problem.cache.read(*parts)
        if kept is not None and not (with_records and kept["records"] is None):
            return Scored(score_from(kept["score"]), kept["records"])
        found = compute()
        values: dict[str, Any] = {"score": asdict(found.score), "records": self._plain(found)}
        self.problem.cache.write(values, *parts)
        return found

    def _plain(self, found: Scored) -> list[float] | None:
        """Records that JSON can hold: those of metrics with one number for each example."""
        metric = self.problem.baseline.metric
        if metric is None or not metric.per_sample or found.records is None:
            return None
        return [float(record) for record in found.records]


def _options_text(options: EmitOptions) -> str:
    return repr((options.options, options.preprocessing))
