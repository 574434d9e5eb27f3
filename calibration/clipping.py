"""Search of ranges of activations by what they do to the outputs.

The range that keeps every value is seldom the best one: a narrower one has a smaller step, and
saturates the few values outside. No statistic of one tensor tells which values the outputs depend
on, so that candidates are tried on the quantized model itself, on a few samples:

1. Groups of tensors with one scale come in the order of what their histograms promise: the error
   that the best range takes away, as a share of the tensor's power.

       error(l, h) = sum over bins of count * e(x),   e = (distance to [l, h])^2 outside,
       e = min(x^2, step^2 / 12) inside

2. Coordinate descent: each group tries the range that its histogram suggests, then shrinks one end
   after the other by a factor as long as the outputs gain, in rounds of finer factors; late rounds
   widen again where that gains. A symmetric format has one end.
3. The cost is the error of the outputs, of scores in front of a softmax (`clipping_cost`). Where
   the model is slow, fewer samples are taken, so that time reaches for all groups.
4. One sample of four is held out: no step is taken that costs more on these. The recipe with the
   ranges found is quantized, and has to be better on them; else nothing is clipped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.clipping_cost import FEWEST, OutputCost
from edgewise.calibration.output_error import Measure
from edgewise.calibration.parameters import affine_parameters
from edgewise.calibration.quantize import quantize_with_findings
from edgewise.calibration.ranges import Range, range_method
from edgewise.calibration.recipe import Recipe
from edgewise.calibration.runtime_scales import (
    AdjustableModel,
    Group,
    with_runtime_scales,
)
from edgewise.calibration.scheme import NumberFormat, Scheme
from edgewise.calibration.statistics import Statistics
from edgewise.data.source import DataSource, Sample
from edgewise.errors import DataError
from edgewise.progress import SILENT, Progress

DEFAULT_SAMPLES = 32
DEFAULT_SECONDS = 60.0
_HELD_OUT = 4
#: by what the ends move in each round, and whether they may move outwards
_ROUNDS = ((0.6, False), (0.85, True), (0.95, True))
#: for each group in the first round, as a rule
_TRIALS = 3
_SUGGESTED = 0.97 ** np.arange(80)


@dataclass(frozen=True, slots=True)
class Clipping:
    """What the search found. Costs are those of the held-out samples (see case 3)."""

    recipe: Recipe
    before: float
    after: float
    #: ranges that were tried, and the tensors that are clipped
    evaluations: int
    clipped: tuple[str, ...]
    #: whether time ended the search
    cut_short: bool


def search_clipping(
    model: ir.Model,
    statistics: Statistics,
    scheme: Scheme,
    recipe: Recipe,
    source: DataSource,
    *,
    measure: Measure = "auto",
    limit: int = DEFAULT_SAMPLES,
    deadline: float | None = None,
    threads: int = 1,
    progress: Progress = SILENT,
) -> Clipping:
    """The recipe with ranges that keep more of the outputs, or the recipe as it is.

    Args:
        model: hub model, repairs included; never changed.
        statistics: collected with it.
        scheme: with integer activations.
        recipe: what the model is quantized by otherwise.
        source: calibration data; labels are not looked at.
        measure: `classes` takes every output for scores of classes, along the last axis; `auto`
            those in front of a softmax.
        limit: use the first `limit` samples, at least 2.
        deadline: of `time.monotonic`; a minute from now by default. What was found by then is
            still compared on the held-out samples.

    Raises:
        ModelError, UsageError, UnsupportedPrecision: what quantizing raises.
        DataError: there are fewer than two samples, or what `source` raises.
    """
    deadline = time.monotonic() + DEFAULT_SECONDS if deadline is None else deadline
    plain = quantize_with_findings(model, statistics, scheme, recipe).model
    adjustable = with_runtime_scales(plain, scheme)
    fitted, held = _parted(list(islice(source, limit)), source)
    judge, unseen = (
        OutputCost(model, adjustable, samples, measure, threads) for samples in (fitted, held)
    )
    before = after = unseen.cost(adjustable.feeds())
    search = _Search(scheme, statistics, recipe, adjustable, (judge, unseen), deadline)
    steps = len(_ROUNDS) * len(search.coordinates)
    for _ in progress.track(search.run(), "clipping", steps):
        pass
    found = replace(recipe, clipped={**recipe.clipped, **search.clipped()})
    if search.clipped():
        result = quantize_with_findings(model, statistics, scheme, found).model
        again = with_runtime_scales(result, scheme)
        after = OutputCost(model, again, held, measure, threads).cost(again.feeds())
    if not after < before:
        return Clipping(recipe, before, before, judge.evaluations, (), search.cut_short)
    clipped = tuple(sorted(search.clipped()))
    return Clipping(found, before, after, judge.evaluations, clipped, search.cut_short)


def _parted(samples: list[Sample], source: DataSource) -> tuple[list[Sample], list[Sample]]:
    """The samples to search with, and those held out."""
    if len(samples) < 2:
        raise DataError("the search of ranges needs two samples", where=source.description)
    places = range(_HELD_OUT - 1, len(samples), _HELD_OUT) or range(len(samples) - 1, len(samples))
    held = [samples[index] for index in places]
    return [sample for index, sample in enumerate(samples) if index not in places], held


#: of a range; a symmetric format moves both together
End = Literal["low", "high", "both"]


@dataclass(slots=True)
class _Coordinate:
    """A group, its range on the way, and the extent of its values, which no range leaves."""

    group: Group
    start: Range
    extent: Range
    ends: tuple[End, ...]
    suggested: Range
    #: share of the power that the suggested range saves
    promise: float
    now: Range = field(init=False)

    def __post_init__(self) -> None:
        self.now = self.start

    def moved(self, end: End, factor: float) -> Range:
        """The range with one end, or both, at another place."""
        low, high = self.now.low, self.now.high
        if end == "both":
            reach = max(-low, high) * factor
            edge = self.extent if factor > 1 else self.now
            return Range(max(edge.low, -reach), min(edge.high, reach))
        if end == "low":
            return Range(max(low * factor, self.extent.low), high)
        return Range(low, min(high * factor, self.extent.high))


class _Search:
    """Cases 1 and 2."""

    def __init__(
        self,
        scheme: Scheme,
        statistics: Statistics,
        recipe: Recipe,
        adjustable: AdjustableModel,
        judges: tuple[OutputCost, OutputCost],
        deadline: float,
    ) -> None:
        if scheme.activation is None:
            raise ValueError("the scheme has no activation format")
        self._number = scheme.activation
        self._statistics = statistics.tensors
        self._recipe = recipe
        self._deadline = deadline
        self._feeds = adjustable.feeds()
        self._judge, self._held = judges
        self._best: list[float] = []
        self._unseen = self._held.cost(self._feeds)
        self.cut_short = False
        found = (self._coordinate(group) for group in adjustable.groups)
        self.coordinates = sorted(
            (coordinate for coordinate in found if coordinate is not None),
            key=lambda coordinate: -coordinate.promise,
        )

    def run(self) -> Iterator[None]:
        """One step for each group in each round."""
        self._best = self._judge.costs(self._feeds, [])
        self._best = self._judge.keep(self._affordable(), self._best)
        for index, (factor, outwards) in enumerate(_ROUNDS):
            for coordinate in self.coordinates:
                if time.monotonic() >= self._deadline:
                    self.cut_short = True
                    return
                if not index:
                    self._try(coordinate, coordinate.suggested)
                for end in coordinate.ends:
                    if not self._walk(coordinate, end, factor) and outwards:
                        self._walk(coordinate, end, 1 / factor)
                yield

    def _affordable(self) -> int:
        """Samples with which time reaches for a first round."""
        trials = _TRIALS * max(len(self.coordinates), 1)
        left = max(self._deadline - time.monotonic(), 0.0)
        return max(int(left / (self._judge.seconds * trials)), FEWEST)

    def clipped(self) -> dict[str, tuple[float, float]]:
        """The field of the recipe, for all tensors of groups that moved."""
        found = {}
        for coordinate in self.coordinates:
            if coordinate.now != coordinate.start:
                for name in coordinate.group.tensors:
                    own = self._statistics[name]
                    low = max(coordinate.now.low, min(own.minimum, 0.0))
                    found[name] = (low, min(coordinate.now.high, max(own.maximum, 0.0)))
        return found

    def _walk(self, coordinate: _Coordinate, end: End, factor: float) -> bool:
        """Move an end as long as that gains; whether it moved at all."""
        steps = 0
        while time.monotonic() < self._deadline:
            if not self._try(coordinate, coordinate.moved(end, factor)):
                break
            steps += 1
        return steps > 0

    def _try(self, coordinate: _Coordinate, candidate: Range) -> bool:
        if candidate == coordinate.now or time.monotonic() >= self._deadline:
            return False
        changed = coordinate.group.feeds(affine_parameters(candidate, self._number))
        feeds = {**self._feeds, **changed}
        costs = self._judge.costs(feeds, self._best)
        if not costs or (unseen := self._held.cost(feeds)) > self._unseen:
            return False
        self._best, self._unseen, coordinate.now = costs, unseen, candidate
        self._feeds |= changed
        return True

    def _coordinate(self, group: Group) -> _Coordinate | None:
        """None where the scale of the group follows from something else than its statistics."""
        if not all(name in self._statistics for name in group.tensors):
            return None
        own = [self._statistics[name] for name in group.tensors]
        start, extent = self._own_range(group.tensors[0]), Range(0.0, 0.0)
        for name, statistics in zip(group.tensors, own, strict=True):
            start = start.union(self._own_range(name))
            extent = extent.union(Range.around_zero(statistics.minimum, statistics.maximum))
        if affine_parameters(start, self._number) != group.parameters or start.low == start.high:
            return None
        histogram = own[0].histogram
        for statistics in own[1:]:
            histogram = histogram + statistics.histogram
        centres = histogram.edges()[:-1] + histogram.width / 2
        seen = histogram.counts > 0
        coordinate = _Coordinate(group, start, extent, _ends(start, self._number), start, 0.0)
        _suggest(coordinate, centres[seen], histogram.counts[seen], self._number)
        return coordinate

    def _own_range(self, name: str) -> Range:
        if name in self._recipe.clipped:
            return Range.around_zero(*self._recipe.clipped[name])
        choose = range_method(self._recipe.method)
        return choose(self._statistics[name], self._recipe.percentile, self._number)


def _ends(real: Range, number: NumberFormat) -> tuple[End, ...]:
    whole = number.whole_range_if_positive and real.low >= 0.0
    if number.symmetric and not whole:
        return ("both",)
    both: tuple[tuple[End, float], ...] = (("high", real.high), ("low", real.low))
    return tuple(end for end, value in both if value != 0.0)


def _suggest(
    coordinate: _Coordinate,
    values: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    number: NumberFormat,
) -> None:
    """Set the range of the least error by case 1, and what it promises."""
    least = first = _expected_error(coordinate.start, values, counts, number)
    best = coordinate.start
    for end in coordinate.ends:
        coordinate.now = best
        for factor in _SUGGESTED[1:]:
            candidate = coordinate.moved(end, float(factor))
            error = _expected_error(candidate, values, counts, number)
            if error < least:
                least, best = error, candidate
    coordinate.now, coordinate.suggested = coordinate.start, best
    power = float((counts * np.square(values)).sum())
    coordinate.promise = (first - least) / power if power > 0.0 else 0.0


def _expected_error(
    real: Range,
    values: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    number: NumberFormat,
) -> float:
    step = affine_parameters(real, number).scale
    outside = values - np.clip(values, real.low, real.high)
    inside = np.minimum(np.square(values), step**2 / 12)
    return float((counts * np.where(outside != 0.0, np.square(outside), inside)).sum())
