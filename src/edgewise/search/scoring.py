"""A model's metric on the evaluation data, paired with that of the fp32 hub model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgewise.data.source import Array
from edgewise.errors import InternalError
from edgewise.progress import Progress
from edgewise.search.trial import Score
from edgewise.targets.validation import Baseline, Metric
from edgewise.targets.validation.accuracy import drop, drop_interval
from edgewise.targets.validation.baseline import observe
from edgewise.targets.validation.metrics import examples_of


class Runs(Protocol):
    """A session, of ONNX Runtime or of a target."""

    def run(self, feeds: Mapping[str, Array], /) -> Mapping[str, Array]: ...


@dataclass(frozen=True, slots=True)
class Scored:
    """A score with the records that it was computed from, for pairing; None where it was kept on
    disk and they were not."""

    score: Score
    records: Sequence[Any] | None


def metric_of(baseline: Baseline) -> Metric:
    """The metric; a search without one is a defect."""
    if baseline.metric is None:
        raise InternalError("a search needs a metric")
    return baseline.metric


def score(session: Runs, baseline: Baseline, label: str, progress: Progress) -> Scored:
    """Run the whole evaluation data. Raises what the data or the session raises."""
    metric, source = metric_of(baseline), baseline.source
    records = [
        observe(metric, session.run(sample.feeds), sample)
        for sample in progress.track(source, label, len(source))
    ]
    before, after = examples_of(metric, baseline.records), examples_of(metric, records)
    value = metric.compute(after)
    interval = drop_interval(metric, before, after)
    return Scored(Score(value, drop(metric, metric.compute(before), value), interval), records)


def gain(
    baseline: Baseline, first: Sequence[Any], records: Sequence[Any]
) -> tuple[float, tuple[float, float] | None]:
    """How much better the records are than the first trial's, with its 95 % interval."""
    metric = metric_of(baseline)
    before, after = examples_of(metric, first), examples_of(metric, records)
    loss = drop(metric, metric.compute(before), metric.compute(after))
    interval = drop_interval(metric, before, after)
    return -loss, None if interval is None else (-interval[1], -interval[0])
