"""How far the outputs of a gated model are from float, for many settings of its gates at once.

For setting c, output o and the samples n, with y the float output and y_c the other:

    error(c) = mean_o  sum_n |y_c - y|^2  /  sum_n |y - mean(y)|^2            SQNR = -10 log10 error

noise over signal, where the signal of an output is what varies: a constant offset tells nothing.
Errors of small independent causes add up in it, which shares need. For class scores only
differences between classes count, so that y and y_c lose the mean of each row; they are compared
before the softmax, since behind it a confident example hides any error. SQNR of outputs as a rank
of layers, on a few samples without labels: Pandey et al. 2023, arXiv:2302.05397.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.gates import Feeds, GatedModel
from edgewise.data.source import DataSource, Sample
from edgewise.errors import DataError, UsageError
from edgewise.graph import OrtSession, attribute
from edgewise.progress import SILENT, Progress

Measure = Literal["auto", "classes", "values"]
_SHAPING = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
_SOFTMAXES = frozenset({"Softmax", "LogSoftmax"})


def decibels(error: float) -> float:
    """SQNR of an error: infinite without one."""
    return math.inf if error <= 0.0 else -10.0 * math.log10(error)


@dataclass(frozen=True, slots=True)
class Observed:
    """What is compared: a value of the gated model, and the axis of its classes if it has any."""

    name: str
    classes: int | None


class Instrumented(Protocol):
    """A changed QDQ model: `values` leads from a quantized tensor to what its readers see."""

    @property
    def model(self) -> ir.Model: ...

    @property
    def values(self) -> Mapping[str, str]: ...


def observed_outputs(
    gated: Instrumented, hub: ir.Model, measure: Measure = "auto"
) -> list[Observed]:
    """One value for each floating-point output of the hub model.

    `auto` takes what a softmax gives for class scores, `classes` every output, along the last axis.
    """
    known = {value.name for node in gated.model.graph for value in node.outputs}
    found = []
    for output in hub.graph.outputs:
        if output.dtype is None or not output.dtype.is_floating_point():
            continue
        softmax = None if measure == "values" else _softmax_before(output)
        scores = None if softmax is None else softmax.inputs[0]
        if softmax is not None and scores is not None:
            name = gated.values.get(scores.name or "", scores.name or "")
            if name in known:
                found.append(Observed(name, int(attribute(softmax, "axis", -1))))
                continue
        found.append(Observed(output.name or "", -1 if measure == "classes" else None))
    return found


def _softmax_before(output: ir.Value) -> ir.Node | None:
    node = output.producer()
    while node is not None and node.op_type in _SHAPING:
        source = node.inputs[0]
        node = None if source is None else source.producer()
    return node if node is not None and node.op_type in _SOFTMAXES else None


class Probe:
    """A session of a gated model, and what its outputs are compared by."""

    def __init__(
        self,
        gated: GatedModel,
        hub: ir.Model,
        *,
        measure: Measure = "auto",
        threads: int = 1,
    ) -> None:
        self.gated = gated
        self._observed = observed_outputs(gated, hub, measure)
        if not self._observed:
            raise UsageError("the model has no floating-point output to compare")
        names = [value.name for value in self._observed]
        self._names = list(dict.fromkeys(names))
        self._session = OrtSession(with_outputs(gated.model, self._names), threads=threads)

    def errors(
        self,
        source: DataSource,
        settings: Sequence[Feeds],
        *,
        limit: int,
        deadline: float | None = None,
        label: str = "",
        progress: Progress = SILENT,
    ) -> tuple[npt.NDArray[np.float64], int]:
        """The error of each setting, and over how many samples.

        Args:
            source: the first `limit` samples are used, one after the other.
            deadline: of `time.monotonic`: no sample is begun behind it, but for the first one.

        Raises:
            DataError: there are no samples, or what `source` raises.
            ModelError: ONNX Runtime cannot run the model.
        """
        sums = [_Sums(len(settings)) for _ in self._observed]
        closed = self.gated.gates((), ())
        samples = 0
        total = min(limit, len(source)) * len(settings)
        steps = iter(progress.track(range(total), label, total))
        for sample in self._in_time(islice(source, limit), deadline):
            reference = self._session.run({**sample.feeds, **closed}, self._names)
            for observed, part in zip(self._observed, sums, strict=True):
                part.reference(reference[observed.name], observed.classes)
            for index, setting in enumerate(settings):
                next(steps, None)
                outputs = self._session.run({**sample.feeds, **setting}, self._names)
                for observed, part in zip(self._observed, sums, strict=True):
                    part.add(index, outputs[observed.name])
            samples += 1
        for _ in steps:
            break
        if not samples:
            raise DataError("there are no samples to compare", where=source.description)
        return np.mean([part.errors() for part in sums], axis=0), samples

    @staticmethod
    def _in_time(samples: Iterable[Sample], deadline: float | None) -> Iterable[Sample]:
        for index, sample in enumerate(samples):
            if index and deadline is not None and time.monotonic() > deadline:
                return
            yield sample


class _Sums:
    """Of one output: of its float values, and of squared differences for each setting."""

    def __init__(self, settings: int) -> None:
        self._noise = np.zeros(settings)
        self._count, self._sum, self._squares = 0, 0.0, 0.0
        self._classes: int | None = None
        self._reference: npt.NDArray[np.float64] = np.zeros(0)

    def reference(self, array: npt.NDArray[Any], classes: int | None) -> None:
        self._classes = classes
        values = self._centred(array)
        self._reference = values
        finite = values[np.isfinite(values)]
        self._count += finite.size
        self._sum += float(finite.sum())
        self._squares += float((finite**2).sum())

    def add(self, setting: int, array: npt.NDArray[Any]) -> None:
        finite = np.isfinite(self._reference)
        difference = (self._centred(array) - self._reference)[finite]
        noise = float((difference**2).sum())
        self._noise[setting] += noise if math.isfinite(noise) else math.inf

    def errors(self) -> npt.NDArray[np.float64]:
        """Noise over signal; over the power of the values where they do not vary."""
        varying = self._squares - self._sum**2 / max(self._count, 1)
        constant = varying <= 1e-12 * self._squares
        signal = self._squares if constant else varying
        return self._noise / signal if signal > 0.0 else np.where(self._noise > 0, math.inf, 0.0)

    def _centred(self, array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        values = array.astype(np.float64)
        if self._classes is None or not values.ndim:
            return values
        return np.asarray(values - values.mean(axis=self._classes, keepdims=True))


def with_outputs(model: ir.Model, names: Iterable[str]) -> ir.Model:
    """A copy that gives these values, too."""
    copy = ir.from_proto(ir.to_proto(model))
    present = {value.name for value in copy.graph.outputs}
    values = {value.name: value for node in copy.graph for value in node.outputs}
    for name in names:
        if name not in present:
            copy.graph.outputs.append(values[name])
    return copy
