"""What changed scales cost: how far the outputs are from those of the float model.

    mean_o  sum_n |y_q - y|^2 / sum_n |y - mean(y)|^2         of outputs o and samples n

Scores of classes lose the mean over classes, and are taken in front of the softmax, as in
`output_error`: a divergence of probabilities hangs on the few examples that are uncertain, and a
dozen examples are too few for it.

Each sample has its part in
the sum, so that a candidate can be given up early: as soon as it costs more than the best one in
all, or clearly more than the best one over the same samples, by two standard errors of the mean.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.output_error import (
    Measure,
    Observed,
    observed_outputs,
    with_outputs,
)
from edgewise.calibration.runtime_scales import AdjustableModel, Feeds
from edgewise.data.source import Array, Sample
from edgewise.graph import OrtSession

#: gains below this share of the cost are chance
_LEAST_GAIN = 2e-3
_CLEARLY = 2.0
#: samples that tell something
FEWEST = 6


class OutputCost:
    """The cost of an adjustable model's outputs over some samples."""

    def __init__(
        self,
        hub: ir.Model,
        adjustable: AdjustableModel,
        samples: list[Sample],
        measure: Measure,
        threads: int,
    ) -> None:
        self._observed = observed_outputs(adjustable, hub, measure)
        self._names = list(dict.fromkeys(value.name for value in self._observed))
        tensors = {value: name for name, value in adjustable.values.items()}
        wanted = {name: tensors.get(name, name) for name in self._names}
        reference = OrtSession(with_outputs(hub, wanted.values()), threads=threads, optimize="all")
        self._samples = [dict(sample.feeds) for sample in samples]
        self._wanted = []
        for feeds in self._samples:
            values = reference.run(feeds, list(dict.fromkeys(wanted.values())))
            self._wanted.append(
                {
                    value.name: _centred(values[wanted[value.name]], value.classes)
                    for value in self._observed
                }
            )
        self._signals = {name: self._signal(name) for name in self._names}
        # the runtime's optimizer would give the weights scales of its own, see `runtime_scales`
        self._session = OrtSession(with_outputs(adjustable.model, self._names), threads=threads)
        self.evaluations = 0
        #: that one sample took at the latest evaluation
        self.seconds = 0.0

    def cost(self, feeds: Feeds) -> float:
        """Of the model with these inputs."""
        return sum(self.costs(feeds, []))

    def costs(self, feeds: Feeds, best: Sequence[float]) -> list[float]:
        """The part of each sample in the cost, if that is lower than the `best` one, of which the
        parts are given; nothing where it is not."""
        self.evaluations += 1
        limit = sum(best) * (1 - _LEAST_GAIN) if best else math.inf
        found: list[float] = []
        began = time.monotonic()
        for sample, wanted in zip(self._samples, self._wanted, strict=True):
            outputs = self._session.run({**sample, **feeds}, self._names)
            part = sum(self._part(value, wanted, outputs) for value in self._observed)
            found.append(part / len(self._observed) if math.isfinite(part) else math.inf)
            if not sum(found) < limit or _clearly_above(found, best):
                return []
        self.seconds = max((time.monotonic() - began) / len(found), 1e-6)
        return found

    def keep(self, count: int, costs: list[float]) -> list[float]:
        """From now on, use so many samples at most; their costs out of those of all."""
        some = min(count, len(self._samples))
        chosen = [index * len(self._samples) // some for index in range(some)]
        self._samples = [self._samples[index] for index in chosen]
        self._wanted = [self._wanted[index] for index in chosen]
        return [costs[index] for index in chosen]

    def _part(
        self, observed: Observed, wanted: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> float:
        """Of one output of one sample."""
        name = observed.name
        noise = _centred(outputs[name], observed.classes) - wanted[name]
        return float(np.square(noise).sum()) / self._signals[name]

    def _signal(self, name: str) -> float:
        values = np.concatenate([wanted[name].reshape(-1) for wanted in self._wanted])
        varying = float(np.square(values - values.mean(dtype=np.float64)).sum(dtype=np.float64))
        whole = float(np.square(values, dtype=np.float64).sum())
        signal = varying if varying > 1e-12 * whole else whole
        return signal if signal > 0.0 else 1.0


def _clearly_above(found: Sequence[float], best: Sequence[float]) -> bool:
    """Whether what was tried over the first samples tells that the rest will not help."""
    if len(found) < FEWEST or not best:
        return False
    more = np.subtract(found, best[: len(found)])
    return bool(more.mean() > _CLEARLY * more.std() / math.sqrt(len(more)))


def _centred(array: Array, classes: int | None) -> npt.NDArray[np.float64]:
    """Scores without the mean over classes, which no softmax sees."""
    values = array.astype(np.float64)
    if classes is None or not values.ndim:
        return values
    return np.asarray(values - values.mean(axis=classes, keepdims=True))
