"""The artifact as written to disk against the fp32 model, on the user's data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgewise.data.source import Sample
from edgewise.errors import DataError
from edgewise.targets.validation.agreement import Agreement, Outputs
from edgewise.targets.validation.baseline import Baseline, observe
from edgewise.targets.validation.bootstrap import (
    Indices,
    Interval,
    mean_interval,
    statistic_interval,
)
from edgewise.targets.validation.metrics import Metric, examples_of
from edgewise.targets.validation.results import Accuracy


class AccuracyMeter:
    """Compares one example after another with the baseline, which saw them in the same order."""

    def __init__(self, baseline: Baseline) -> None:
        self._baseline = baseline
        self._records: list[Any] = []
        self._agreement = Agreement()

    def observe(self, sample: Sample, outputs: Outputs) -> None:
        """The artifact's outputs for the next example.

        Raises DataError when the data has more examples than the baseline saw, or a label that
        does not fit.
        """
        index = self._agreement.samples
        if index >= len(self._baseline.outputs):
            raise self._changed(index + 1)
        self._agreement.observe(self._baseline.outputs[index], outputs, sample.name)
        if self._baseline.metric is not None:
            self._records.append(observe(self._baseline.metric, outputs, sample))

    def result(self) -> Accuracy:
        """Raises DataError when the data had fewer examples than the baseline saw."""
        agreement, metric = self._agreement, self._baseline.metric
        if agreement.samples != len(self._baseline.outputs):
            raise self._changed(agreement.samples)
        broken = agreement.not_finite_reason
        figures = _metric_figures(metric, self._baseline.records, self._records)
        return Accuracy(
            **figures,
            samples=agreement.samples,
            sqnr_db=None if broken else agreement.sqnr_db,
            cosine=None if broken else agreement.cosine,
            top1_agreement=None if broken else agreement.argmax_agreement,
            worst_sample=agreement.worst_sample,
            reason=broken or _missing_metric(self._baseline),
        )

    def _changed(self, count: int) -> DataError:
        return DataError(
            "the data changed between two walks over it",
            where=self._baseline.source.description,
            why=f"there were {len(self._baseline.outputs)} examples, and now {count}",
            remedy="Yield the same examples in the same order each time.",
        )


def not_measured(reason: str) -> Accuracy:
    """The result where there is no evaluation data."""
    return Accuracy(None, None, None, None, None, 0, reason=reason)


def drop(metric: Metric, fp32: float, artifact: float) -> float:
    """How much worse the artifact is, whatever the metric's direction."""
    return fp32 - artifact if metric.higher_is_better else artifact - fp32


def drop_interval(metric: Metric, fp32: Sequence[Any], artifact: Sequence[Any]) -> Interval | None:
    """95 % interval of the drop by paired bootstrap; None for too few examples, or a metric of
    the user's that is too slow to repeat."""
    if metric.per_sample:
        losses = np.asarray(fp32, np.float64) - np.asarray(artifact, np.float64)
        return mean_interval(losses if metric.higher_is_better else -losses)

    def on(indices: Indices) -> float:
        both = ([records[i] for i in indices] for records in (fp32, artifact))
        return drop(metric, *(metric.compute(chosen) for chosen in both))

    return statistic_interval(on, len(fp32))


def _metric_figures(
    metric: Metric | None, fp32: Sequence[Any], artifact: Sequence[Any]
) -> dict[str, Any]:
    if metric is None or not fp32:
        return {"metric": None, "fp32": None, "artifact": None, "drop": None, "ci95": None}
    fp32, artifact = examples_of(metric, fp32), examples_of(metric, artifact)
    before, after = metric.compute(fp32), metric.compute(artifact)
    return {
        "metric": metric.name,
        "fp32": before,
        "artifact": after,
        "drop": drop(metric, before, after),
        "ci95": drop_interval(metric, fp32, artifact),
    }


def _missing_metric(baseline: Baseline) -> str | None:
    if not len(baseline.outputs):
        return "the data holds no example"
    if baseline.metric is not None:
        return None
    return "no metric was asked for" if baseline.source.labelled else "the data has no labels"
