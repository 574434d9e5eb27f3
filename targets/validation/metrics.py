"""What "accurate" means: built-in metrics by name, or the user's own function.

A metric reduces each example's outputs to a small record, and all records to one number, so that
no outputs need to be kept. Names: `top1`, `top5`, `mse`, `spearman`, `map50`, `map`, or
`package.module:function` (also `file.py:function`) with `function(outputs, labels) -> float`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from edgewise.data.source import Array, PairHalf
from edgewise.errors import DataError, UsageError
from edgewise.references import describe, is_reference, resolve
from edgewise.targets.validation.detection import MeanAveragePrecision

Outputs = Mapping[str, Array]


class Metric(Protocol):
    """`observe` once per example, then `compute` over the records of all of them."""

    @property
    def name(self) -> str: ...

    @property
    def higher_is_better(self) -> bool: ...

    @property
    def per_sample(self) -> bool:
        """Whether records are floats and `compute` is their mean."""

    def observe(self, outputs: Outputs, label: Any) -> Any:
        """The record of one example. Raises DataError or UsageError when they do not fit."""

    def compute(self, records: Sequence[Any]) -> float:
        """The metric over a non-empty sequence of records."""


def get_metric(name: str, *, base: Path | None = None) -> Metric:
    """The metric of that name; `base` is the folder where `file.py:function` starts.

    Raises:
        UsageError: an unknown name, or a reference to something that is not a function.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]()
    if not is_reference(name):
        raise UsageError(
            f"unknown metric '{name}'",
            remedy=f"Choose one of {', '.join(_BUILT_IN)}, or package.module:function.",
        )
    function = resolve(name, base=base, error=UsageError)
    if not callable(function):
        raise UsageError("is not a function", where=name, why=f"found {type(function).__name__}")
    return FunctionMetric(name, function)


class TopK:
    """Share of examples whose class is among the k highest scores of the first output.

    Scores: one per class, all other axes 1. Labels: class indices from 0. Of equal scores the one
    with the lower index counts as higher, as in argmax.
    """

    higher_is_better = True
    per_sample = True

    def __init__(self, k: int) -> None:
        self.name = f"top{k}"
        self._k = k

    def observe(self, outputs: Outputs, label: Any) -> float:
        scores = _scores(outputs, self.name)
        wanted = _class_index(label, len(scores))
        ahead = np.count_nonzero(scores > scores[wanted])
        ahead += np.count_nonzero(scores[:wanted] == scores[wanted])
        return float(ahead < self._k)

    def compute(self, records: Sequence[float]) -> float:
        return float(np.mean(records))


class MeanSquaredError:
    """Mean over the examples of the mean squared difference of the first output and the label.

    The label has as many values as the output; lower is better.
    """

    name = "mse"
    higher_is_better = False
    per_sample = True

    def observe(self, outputs: Outputs, label: Any) -> float:
        found = _first(outputs).astype(np.float64).reshape(-1)
        wanted = _numbers(label).reshape(-1)
        if found.shape != wanted.shape:
            raise DataError(
                "the label does not fit the output",
                why=f"it has {wanted.size} values, the output {found.size}",
            )
        return float(np.mean(np.square(found - wanted)))

    def compute(self, records: Sequence[float]) -> float:
        return float(np.mean(records))


@runtime_checkable
class JoiningMetric(Protocol):
    """A metric of examples that come in several runs of the model, such as pairs of sentences."""

    def joined(self, records: Sequence[Any]) -> Sequence[Any]:
        """One record for each example, from those of its runs; `compute` takes these."""


def examples_of(metric: Metric, records: Sequence[Any]) -> Sequence[Any]:
    """What `compute` takes, and what a bootstrap may draw from: one record for each example."""
    return metric.joined(records) if isinstance(metric, JoiningMetric) else records


@dataclass(frozen=True, slots=True, eq=False)
class _Half:
    """The output for one of two texts, and what the pair of them is worth."""

    vector: npt.NDArray[np.float64]
    label: PairHalf


class Spearman:
    """Rank correlation of the first output with the label: Pearson's correlation of the ranks,
    equal values sharing their mean rank (Spearman, 1904). 0 where either is constant.

    The output is one number for each example; or a vector for each half of a pair, and then the
    number is the cosine of both, as benchmarks of sentence embeddings have it (STS-B).
    """

    name = "spearman"
    higher_is_better = True
    per_sample = False

    def observe(self, outputs: Outputs, label: Any) -> tuple[float, float] | _Half:
        found = _first(outputs)
        if isinstance(label, PairHalf):
            return _Half(found.astype(np.float64).reshape(-1), label)
        wanted = _numbers(label)
        if found.size != 1 or wanted.size != 1:
            raise UsageError(
                "spearman needs one number per example",
                why=f"the output has {found.size}, the label {wanted.size}",
                remedy="Use package.module:function to compute the number from the outputs.",
            )
        return float(found.reshape(())), float(wanted.reshape(()))

    def joined(self, records: Sequence[tuple[float, float] | _Half]) -> list[tuple[float, float]]:
        """The halves of each pair follow one another; one without its other half is left out."""
        joined = [record for record in records if not isinstance(record, _Half)]
        halves = [record for record in records if isinstance(record, _Half)]
        for first, second in pairwise(halves):
            if first.label.pair == second.label.pair:
                joined.append((_cosine(first.vector, second.vector), first.label.score))
        return joined

    def compute(self, records: Sequence[tuple[float, float] | _Half]) -> float:
        pairs = np.asarray(self.joined(records), dtype=np.float64)
        found, wanted = (_ranks(column) for column in pairs.T)
        found, wanted = found - found.mean(), wanted - wanted.mean()
        scale = float(np.sqrt(np.sum(found**2) * np.sum(wanted**2)))
        return float(np.sum(found * wanted)) / scale if scale else 0.0


class FunctionMetric:
    """The user's `function(outputs, labels) -> float` over all examples; higher is better.

    `outputs` is a list of dicts from output name to array, so all outputs are kept in memory.
    """

    higher_is_better = True
    per_sample = False

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self._function = function

    def observe(self, outputs: Outputs, label: Any) -> tuple[dict[str, Array], Any]:
        return dict(outputs), label

    def compute(self, records: Sequence[tuple[dict[str, Array], Any]]) -> float:
        outputs, labels = [r[0] for r in records], [r[1] for r in records]
        try:
            value = float(self._function(outputs, labels))
        except Exception as error:  # user code may raise anything
            raise UsageError("the metric failed", where=self.name, why=describe(error)) from error
        if not np.isfinite(value):
            raise UsageError("the metric is not a finite number", where=self.name)
        return value


_BUILT_IN: Mapping[str, Callable[[], Metric]] = {
    "top1": lambda: TopK(1),
    "top5": lambda: TopK(5),
    "mse": MeanSquaredError,
    "spearman": Spearman,
    "map50": lambda: MeanAveragePrecision("map50", (0.5,)),
    "map": lambda: MeanAveragePrecision("map", tuple(0.5 + 0.05 * step for step in range(10))),
}
METRICS = tuple(_BUILT_IN)


def _first(outputs: Outputs) -> Array:
    return next(iter(outputs.values()))


def _scores(outputs: Outputs, metric: str) -> Array:
    first = _first(outputs)
    if first.size < 2 or max(first.shape) != first.size:
        raise UsageError(
            f"{metric} needs one score per class in the first output",
            why=f"its shape is {list(first.shape)}",
            remedy="Choose another metric, or package.module:function.",
        )
    return first.reshape(-1)


def _class_index(label: Any, classes: int) -> int:
    value = _numbers(label)
    if value.size != 1 or value.reshape(()) != np.floor(value.reshape(())):
        raise DataError("the label is not a class index", why=f"found {label!r}")
    index = int(value.reshape(()))
    if not 0 <= index < classes:
        raise DataError(
            f"class {index} does not exist",
            why=f"the model has {classes} classes, numbered from 0",
            remedy="Number the labels as the model does.",
        )
    return index


def _cosine(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """Of the angle between both; 0 where one has no length."""
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / scale if scale else 0.0


def _numbers(label: Any) -> npt.NDArray[np.float64]:
    if isinstance(label, PairHalf):
        raise UsageError(
            "the data are pairs of texts with a score for both", remedy="Choose --metric spearman."
        )
    try:
        values = np.asarray(label, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("the label is not a number", why=f"found {label!r}") from error
    if not np.isfinite(values).all():
        raise DataError("the label is NaN or infinite")
    return values


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rank of each value from 1, equal values sharing the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)
