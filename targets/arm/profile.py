"""How long each part of an artifact takes in ONNX Runtime, beside the same part of the fp32 file.

ONNX Runtime's profiler gives the time of every node that it executes, fused ones as one:
1. The nodes are those of the executed graph, by the artifact's names (`executed`).
2. Both graphs are cut at the tensors that they share. What lies between cuts is a part: a fused
   operator in one file and its unfused pieces in the other, changes of layout with what needs them.
3. The files take turns of some runs each, so that a drift of the machine meets both alike.

Emulated code has no times worth telling, but kinds and counts of its nodes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import numpy as np

from edgewise.errors import UsageError
from edgewise.targets.arm.executed import Executed, ExecutedPart
from edgewise.targets.arm.opened_file import OpenedFile, executed_graph, opened_file
from edgewise.targets.arm.session_options import ORT_SUFFIX
from edgewise.targets.base import LOCAL, Artifact, Feeds
from edgewise.targets.file_form import FileForm
from edgewise.targets.profiling import PartTime, PartTimes
from edgewise.targets.validation.devices import connected

_TURNS, _RUNS = 3, 20
_METHOD = (
    f"ONNX Runtime's profiler, the middle half of {_TURNS * _RUNS} runs in turns with fp32; "
    "reading the clock takes about a microsecond per node, which is why parts do not add up to the "
    "whole"
)


def profile_parts(
    artifact: Artifact,
    fp32: Artifact | None,
    feeds: Feeds,
    *,
    device: str = LOCAL,
    threads: int = 1,
) -> PartTimes:
    """See `edgewise.targets.profiling.ProfilingTarget`."""
    artifacts = [artifact] if fp32 is None else [artifact, fp32]
    if any(one.path.suffix == ORT_SUFFIX for one in artifacts):
        raise UsageError(
            "a file in ORT format cannot be profiled: it tells no graph",
            remedy="Emit it without ort_format to profile it.",
        )
    with ExitStack() as stack:
        reason = None
        if device != LOCAL:
            reason = stack.enter_context(connected(device)).device.latency_reason
        files = [
            stack.enter_context(opened_file(one, device, threads=threads)) for one in artifacts
        ]
        graphs = [
            Executed.of(one, executed_graph(file, device))
            for one, file in zip(artifacts, files, strict=True)
        ]
        if reason is not None:
            raise UsageError(f"{reason}; ONNX Runtime runs {graphs[0].kinds} there")
        for one, file in zip(artifacts, files, strict=True):
            file.load(FileForm(one.manifest).to_file(feeds).arrays)
        return PartTimes(_rows(graphs, _times(files)), _METHOD)


def _times(files: Sequence[OpenedFile]) -> list[dict[str, float]]:
    """Milliseconds of each node of each file, by name."""
    found: list[dict[str, list[int]]] = [defaultdict(list) for _ in files]
    for _ in range(_TURNS):
        for file, times in zip(files, found, strict=True):
            for name, _kind, microseconds in file.profile(_RUNS):
                times[name] += microseconds
    return [{name: _middle(times) / 1e3 for name, times in one.items()} for one in found]


def _middle(times: Sequence[int]) -> float:
    """The mean of the middle half: the profiler tells whole microseconds, so that a median of short
    nodes would be one of few values."""
    ordered = np.sort(np.asarray(times, np.float64))
    quarter = len(ordered) // 4
    return float(ordered[quarter : len(ordered) - quarter].mean())


def _rows(graphs: Sequence[Executed], times: Sequence[dict[str, float]]) -> tuple[PartTime, ...]:
    shared = frozenset.intersection(*(graph.named for graph in graphs))
    mine, *others = (
        [(part, _sum(part, one)) for part in graph.parts(shared)]
        for graph, one in zip(graphs, times, strict=True)
    )
    fp32 = {part.tensors: ms for other in others for part, ms in other}
    return tuple(
        PartTime(_name(part), tuple(node.kind for node in part.nodes), ms, fp32.get(part.tensors))
        for part, ms in mine
    )


def _name(part: ExecutedPart) -> str:
    written = [name for node in part.nodes for name in node.writes]
    return next((name for name in reversed(written) if name in part.tensors), written[-1])


def _sum(part: ExecutedPart, times: Mapping[str, float]) -> float:
    return sum(times.get(node.name, 0.0) for node in part.nodes)
