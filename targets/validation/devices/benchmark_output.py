"""What LiteRT's native `benchmark_model` prints, read into figures.

The lines, as the tool writes them (LiteRT `tflite/tools/benchmark/benchmark_model.cc`,
`benchmark_tflite_model.cc`, `profiling_listener.cc`; the same files lie in TensorFlow under
`tensorflow/lite/tools/benchmark`; statistics are `Stat` and `StatWithPercentiles` of
`core/util/stats_calculator.h`). Each may begin with `INFO: `:

1. `Explicitly applied GPU delegate, and the model graph will be completely executed by the
   delegate.`, or `… partially executed by the delegate w/ 2 delegate kernels.`; the first releases
   wrote `Applied GPU delegate, …`
2. `Though GPU delegate is explicitly applied, the model graph will not be executed by the
   delegate.`
3. `Running benchmark for at least 50 iterations …`, once for the warm-up and once for the runs, and
   after each `count=50 first=900416 curr=898333 min=898007 max=906121 avg=899641 std=1549 p5=898333
   median=899281 p95=904305`, in microseconds; percentiles since 2023. Equal values are
   `count=50 curr=7(all same)`, a single one is `count=1 curr=7`.
4. `Inference timings in us: Init: 5685, First inference: 18535, Warmup (avg): 14462.3, Inference
   (avg): 14575.2`
5. `Memory footprint delta from the start of the tool (MB): init=7.40 overall=7.83`, before 2022
   `Peak memory footprint (MB): init=… overall=…`
6. after `Operator-wise Profiling Info for Regular Benchmark Runs:` a table `Run Order` with a row
   per operator: type, start (before 2022), first and average ms of one call, share, cumulated
   share, KB, calls in a run, name
7. `ERROR: …`, and where it gave up `Benchmarking failed.`
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from edgewise.targets.validation.results import DelegateOperator

_APPLIED = re.compile(
    r"(?:Explicitly applied|Applied) (?P<name>.+?) delegate, and the model graph will be "
    r"(?P<how>completely|partially) executed (?:by|w/) the delegate"
    r"(?: w/ (?P<kernels>\d+) delegate kernels)?"
)
_NOT_APPLIED = re.compile(
    r"Though (?P<name>.+?) delegate is (?:explicitly )?applied, the model graph will not be "
    r"executed (?:by|w/) the delegate"
)
_STATISTIC = re.compile(r"(?P<key>count|first|curr|min|max|avg|p5|median|p95)=(?P<value>[\d.e+]+)")
_TIMINGS = re.compile(
    r"Inference timings in us: Init: (?P<init>[\d.e+]+), First inference: (?P<first>[\d.e+]+), "
    r"Warmup \(avg\): (?P<warmup>[\d.e+]+), Inference \(avg\): (?P<average>[\d.e+]+)"
)
_MEMORY = re.compile(r"emory footprint .*\(MB\): init=\S+ overall=(?P<overall>[\d.e+-]+)")
_PROFILE = "Operator-wise Profiling Info for Regular Benchmark Runs:"
_RUN_ORDER = re.compile(r"=+ Run Order =+")
_ROW = re.compile(
    r"\s*(?P<kind>\S.*?)\s+(?:[\d.]+\s+)?(?P<first>[\d.]+)\s+(?P<average>[\d.]+)\s+"
    r"(?P<share>[\d.]+)%\s+[\d.]+%\s+[\d.]+\s+(?P<calls>\d+)\s+(?P<name>.*\S)"
)
_ERROR = re.compile(r"^\s*(?:INFO: )?ERROR: (?P<text>.+)")


@dataclass(frozen=True, slots=True)
class Applied:
    """What the tool said of a delegate: `completely`, `partially` or `not`."""

    name: str
    how: str
    kernels: int | None = None


@dataclass(frozen=True, slots=True)
class BenchmarkOutput:
    """Times in microseconds; None where the tool did not print them."""

    applied: tuple[Applied, ...]
    #: of the timed runs: count, first, curr, min, max, avg, and newer ones p5, median, p95
    runs: dict[str, float] = field(default_factory=dict)
    init: float | None = None
    first: float | None = None
    warmup: float | None = None
    average: float | None = None
    memory_mb: float | None = None
    operators: tuple[DelegateOperator, ...] = ()
    errors: tuple[str, ...] = ()


def read_output(text: str) -> BenchmarkOutput:
    """Read both streams of the tool, in any order of the two."""
    lines = text.splitlines()
    timings = next(filter(None, map(_TIMINGS.search, lines)), None)
    memory = next(filter(None, map(_MEMORY.search, lines)), None)
    return BenchmarkOutput(
        applied=tuple(_applied(lines)),
        runs=_timed_runs(lines),
        init=None if timings is None else float(timings["init"]),
        first=None if timings is None else float(timings["first"]),
        warmup=None if timings is None else float(timings["warmup"]),
        average=None if timings is None else float(timings["average"]),
        memory_mb=None if memory is None else float(memory["overall"]),
        operators=tuple(_operators(lines)),
        errors=tuple(found["text"] for found in map(_ERROR.match, lines) if found),
    )


def _applied(lines: Iterable[str]) -> Iterator[Applied]:
    for line in lines:
        if found := _APPLIED.search(line):
            kernels = 1 if found["how"] == "completely" else int(found["kernels"] or 0) or None
            yield Applied(found["name"], found["how"], kernels)
        elif found := _NOT_APPLIED.search(line):
            yield Applied(found["name"], "not", 0)


def _timed_runs(lines: Iterable[str]) -> dict[str, float]:
    """The statistics after the second `Running benchmark`: the first are those of the warm-up."""
    phase = 0
    for line in lines:
        if "Running benchmark for at least" in line:
            phase += 1
        elif phase == 2 and "count=" in line:
            found = {item["key"]: float(item["value"]) for item in _STATISTIC.finditer(line)}
            if "curr" in found and "avg" not in found:  # one value, or all are the same
                equal = dict.fromkeys(("avg", "min", "max", "p5", "median", "p95"), found["curr"])
                return equal | found
            return found
    return {}


def _operators(lines: Iterable[str]) -> Iterator[DelegateOperator]:
    remaining = iter(lines)
    for marker in (lambda line: _PROFILE in line, _RUN_ORDER.search):
        if not any(marker(line) for line in remaining):
            return
    for line in remaining:
        if "[node type]" in line:
            continue
        found = _ROW.fullmatch(line)
        if found is None:
            return
        calls = int(found["calls"])
        yield DelegateOperator(
            kind=found["kind"],
            name=found["name"],
            ms=float(found["average"]) * max(calls, 1),  # the tool averages single calls
            share=float(found["share"]) / 100,
            times_called=calls,
        )
