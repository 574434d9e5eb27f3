"""What `report.json` says of a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgewise.search.result import Ended, Nearest, SearchResult
from edgewise.search.trial import Score, Trial


@dataclass(frozen=True, slots=True)
class TrialSummary:
    """A recipe that was tried.

    `sqnr_db` is that of the QDQ model's outputs on calibration examples, `qdq` and `artifact` are
    its and the file's metric on the evaluation data; null where it was not looked at. `gain` is
    against the first trial; `beyond_noise` whether its 95 % interval lies above 0.
    """

    step: str
    recipe: Mapping[str, Any]
    sqnr_db: float | None
    qdq: Score | None
    artifact: Score | None
    gain: float | None
    gain_ci95: tuple[float, float] | None
    beyond_noise: bool | None
    met: bool
    reason: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class SearchSummary:
    """How a target's recipe was found.

    `ended` is `met`, `exhausted` or `time`; `nearest` has the contracts that can be kept instead,
    by operators in float.
    """

    ended: Ended
    chosen: str
    recipe: Mapping[str, Any]
    trials: tuple[TrialSummary, ...]
    nearest: tuple[Nearest, ...]


def summarize(result: SearchResult) -> SearchSummary:
    """The summary of a search's result."""
    return SearchSummary(
        ended=result.ended,
        chosen=result.chosen.step,
        recipe=result.chosen.recipe.as_dict(),
        trials=tuple(_summary(trial) for trial in result.trials),
        nearest=result.nearest,
    )


def _summary(trial: Trial) -> TrialSummary:
    return TrialSummary(
        step=trial.step,
        recipe=trial.recipe.as_dict(),
        sqnr_db=trial.sqnr_db,
        qdq=trial.qdq,
        artifact=trial.artifact,
        gain=trial.gain,
        gain_ci95=trial.gain_ci95,
        beyond_noise=trial.beyond_noise,
        met=trial.met,
        reason=trial.reason,
        seconds=trial.seconds,
    )
