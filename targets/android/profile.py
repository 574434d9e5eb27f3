"""How long each part of a file takes, beside the same part of the fp32 file.

LiteRT's Python gives no times of operators, and XNNPACK runs a whole group of them as one node. So
every part becomes a file of its own, is fed what the whole file computes there, and is timed alone:

1. Both files are cut at the tensors that the model names and that they share; without an fp32 file,
   at every tensor that the model names. Floats inside of an integer file are no cuts.
2. Each file runs once with all cuts as outputs: parts get real values, and indices in range.
3. In rounds, every part of both files takes its turn for a few milliseconds, the two halves of a
   pair one after the other, so that a drift of the machine meets all alike. The median counts.

On a device, the parts are files over there, timed by its clock; what they are fed comes from here.
A part alone finds its inputs in the cache and hands on nothing, so the sum of parts differs from
the time of the whole file; both are told.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgewise.errors import DeviceError, ModelError, UsageError
from edgewise.targets.android.flatbuffer import made_up_name, serialize
from edgewise.targets.android.model import Array, Graph, Tensor
from edgewise.targets.android.parts import Part, part_graph, parts_of
from edgewise.targets.android.reader import UnreadableFile, read_file
from edgewise.targets.android.runtime import LoadFailure, load
from edgewise.targets.base import LOCAL, Artifact, Feeds, to_file
from edgewise.targets.profiling import PartTime, PartTimes
from edgewise.targets.validation.devices import connected
from edgewise.targets.validation.devices.link import RunnerLink

_ROUNDS = 5
_SECONDS_PER_TURN = 0.004
_RUNS_PER_TURN = (2, 200)
_METHOD = (
    "each part alone as a file of its own, median of {rounds} turns that alternate with fp32; "
    "inputs are in the cache, which is why parts do not add up to the whole"
)


#: so many runs of something that is loaded -> nanoseconds of each
_Clock = Callable[[int], Sequence[int]]
#: what loads a graph with the values of its inputs
_Place = Callable[[Graph, Mapping[str, Array]], _Clock]


def profile_parts(
    artifact: Artifact,
    fp32: Artifact | None,
    feeds: Feeds,
    *,
    device: str = LOCAL,
    threads: int = 1,
) -> PartTimes:
    """Time the parts of a file. See `edgewise.targets.profiling.ProfilingTarget`."""
    mine = _Cut(artifact, feeds)
    theirs = None if fp32 is None else _Cut(fp32, feeds)
    shared = mine.names if theirs is None else mine.names & theirs.names
    with _place(device, threads) as place:
        timed = mine.timed(shared, place)
        others = {} if theirs is None else {t.tensors: t for t in theirs.timed(shared, place)}
        pairs = [(part, others.get(part.tensors)) for part in timed]
        for _ in range(_ROUNDS):
            for part, other in pairs:
                part.take_turn()
                if other is not None:
                    other.take_turn()
    rows = tuple(
        PartTime(part.name, part.operators, part.ms, None if other is None else other.ms)
        for part, other in pairs
    )
    return PartTimes(rows, _METHOD.format(rounds=_ROUNDS))


@contextmanager
def _place(device: str, threads: int) -> Iterator[_Place]:
    """Where parts run. Raises UsageError where the times of a device mean nothing."""
    if device == LOCAL:
        yield lambda graph, values: _here(graph, values, threads)
        return
    with ExitStack() as stack:
        link = stack.enter_context(connected(device))
        if link.device.latency_reason is not None:
            raise UsageError(link.device.latency_reason)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgewise-parts-")))
        yield lambda graph, values: _there(graph, values, threads, link, folder, stack)


def _here(graph: Graph, values: Mapping[str, Array], threads: int) -> _Clock:
    interpreter = _load(graph, threads)
    _set(interpreter, values)

    def time_runs(runs: int) -> list[int]:
        times = []
        for _ in range(runs):
            began = time.perf_counter_ns()
            _invoke(interpreter)
            times.append(time.perf_counter_ns() - began)
        return times

    return time_runs


def _there(
    graph: Graph,
    values: Mapping[str, Array],
    threads: int,
    link: RunnerLink,
    folder: Path,
    stack: ExitStack,
) -> _Clock:
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".tflite", delete=False) as file:
        file.write(serialize(graph))
    outputs = [tensor.name for tensor in graph.outputs]
    model = link.open(Path(file.name), "litert", threads=threads, outputs=outputs)
    stack.callback(model.close)
    model.load({tensor.name: values[tensor.name] for tensor in graph.inputs})
    return model.time


class _Cut:
    """A file, and its computed tensors by name."""

    def __init__(self, artifact: Artifact, feeds: Feeds) -> None:
        if artifact.manifest.options.get("batch", 1) == "dynamic":
            raise UsageError(
                "a file with a free batch cannot be profiled",
                remedy="Emit it with a fixed batch to profile it.",
            )
        try:
            self._graph = read_file(artifact.path.read_bytes()).main.graph
        except (OSError, UnreadableFile) as error:
            raise ModelError(
                "the artifact cannot be read", where=str(artifact.path), why=str(error)
            ) from error
        self._feeds = {
            tensor.file_name: to_file(feeds[tensor.name], tensor)
            for tensor in artifact.manifest.inputs
        }
        integer = any(operator.stored_dtype is not None for operator in self._graph.operators)
        self._computed = {
            tensor.name: tensor
            for operator in self._graph.operators
            for tensor in operator.outputs
            if not made_up_name(tensor.name, operator)
            and not (integer and tensor.dtype.kind == "f" and tensor.quantization is None)
        }

    @property
    def names(self) -> set[str]:
        return set(self._computed)

    def timed(self, names: set[str], place: _Place) -> list[_Timed]:
        """The parts between tensors of those names, each loaded with what the file has there."""
        cuts = [tensor for name, tensor in self._computed.items() if name in names]
        values = self._values(cuts)
        return [
            _Timed(part, {tensor.name: values[tensor.name] for tensor in part.reads}, place)
            for part in parts_of(self._graph, cuts)
            if part.writes
        ]

    def _values(self, cuts: Sequence[Tensor]) -> Mapping[str, Array]:
        outputs = list(dict.fromkeys((*self._graph.outputs, *cuts)))
        names = [f"output_{index}" for index in range(len(outputs))]
        interpreter = _load(replace(self._graph, outputs=outputs, output_names=names), 1)
        _set(interpreter, self._feeds)
        _invoke(interpreter)
        found = {d["name"]: d["index"] for d in interpreter.get_output_details()}
        return self._feeds | {name: interpreter.get_tensor(i) for name, i in found.items()}


class _Timed:
    """One part in LiteRT, and the times of its runs."""

    def __init__(self, part: Part, values: Mapping[str, Array], place: _Place) -> None:
        self.tensors = frozenset(tensor.name for tensor in part.writes)
        self.name = part.writes[-1].name
        self.operators = tuple(operator.kind for operator in part.operators)
        self._time = place(part_graph(part), values)
        self._times: list[float] = []
        first = max(self._time(2)[-1], 1)
        least, most = _RUNS_PER_TURN
        self._runs = min(max(int(_SECONDS_PER_TURN * 1e9 / first), least), most)

    def take_turn(self) -> None:
        """The first run brings the part back into the cache."""
        self._times.append(float(np.median(self._time(self._runs + 1)[1:])))

    @property
    def ms(self) -> float:
        return float(np.median(self._times)) / 1e6


def _load(graph: Graph, threads: int) -> Any:
    try:
        return load(serialize(graph), threads)
    except LoadFailure as failure:
        raise DeviceError("LiteRT refuses a part of the file", why=str(failure)) from failure


def _invoke(interpreter: Any) -> None:
    try:
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise DeviceError("LiteRT failed to run a part of the file", why=str(error)) from error


def _set(interpreter: Any, values: Mapping[str, Array]) -> None:
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], values[detail["name"]])
