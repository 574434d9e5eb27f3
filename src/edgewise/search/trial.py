"""One recipe that was tried, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgewise.calibration import Recipe


@dataclass(frozen=True, slots=True)
class Score:
    """The metric of one model on the evaluation data, as far as the contract asks for it.

    `drop` is against the fp32 hub model, with its 95 % interval.
    """

    value: float
    drop: float
    ci95: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Trial:
    """What was found out of a recipe; None where it was not looked at, or `reason` says why.

    Attributes:
        step: what is new about it, in words.
        sqnr_db: outputs of the QDQ model against those of the hub model on calibration examples,
            infinite where they are equal.
        qdq: the QDQ model in ONNX Runtime on the evaluation data.
        artifact: the file that the target wrote of it, where the QDQ model kept the contract.
        gain: how much less the QDQ model drops than that of the first trial, with its interval:
            beyond noise where the interval lies above 0.
        float_nodes: operators that stay in float by choice.
        seconds: spent on it.
    """

    step: str
    recipe: Recipe
    sqnr_db: float | None = None
    qdq: Score | None = None
    artifact: Score | None = None
    gain: float | None = None
    gain_ci95: tuple[float, float] | None = None
    met: bool = False
    reason: str | None = None
    seconds: float = 0.0

    @property
    def float_nodes(self) -> int:
        return len(self.recipe.float_nodes)

    @property
    def drop(self) -> float | None:
        """The worse of what is known: of the file where it was written."""
        if self.qdq is None:
            return None
        return self.qdq.drop if self.artifact is None else max(self.qdq.drop, self.artifact.drop)

    @property
    def beyond_noise(self) -> bool | None:
        """Whether the gain is more than chance; None where there is no interval."""
        return None if self.gain_ci95 is None else self.gain_ci95[0] > 0


def score_from(values: Mapping[str, Any]) -> Score:
    """Of what `dataclasses.asdict` gave, read from JSON."""
    interval = values["ci95"]
    return Score(
        float(values["value"]),
        float(values["drop"]),
        None if interval is None else (float(interval[0]), float(interval[1])),
    )
