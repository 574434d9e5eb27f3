"""How long one inference takes, beside the same target's fp32 file.

The two take turns in blocks, since a machine's speed drifts: neighbouring blocks see the same
machine. They never run at the same time, and each block begins with unmeasured runs, because the
threads of the session before keep spinning for a moment. Blocks go A B, B A, A B, ... so that a
steady drift favours neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from edgewise.progress import SILENT, Progress
from edgewise.targets.base import Feeds, RemoteSession, Session
from edgewise.targets.validation.bootstrap import RESAMPLES, Interval, statistic_interval
from edgewise.targets.validation.results import Latency

Clock = Callable[[], int]
Floats = npt.NDArray[np.float64]
_NS_PER_MS = 1e6


@runtime_checkable
class _LoadTimed(Protocol):
    """A session that knows by its own clock how long the file took to load."""

    load_ms: float


@runtime_checkable
class _Judging(Protocol):
    """A session that can tell whether its device was fit to be timed."""

    def judge(self, blocks: Sequence[Sequence[float]]) -> None:
        """After runs that took so many milliseconds, block by block."""


@dataclass(frozen=True, slots=True)
class LatencyPlan:
    """How much to run. The defaults take about six seconds for two sessions of a fast model."""

    warmup_seconds: float = 0.3
    warmup_runs: int = 5  # at least
    blocks: int = 10  # of each session
    block_seconds: float = 0.25
    runs_per_block: tuple[int, int] = (3, 2000)  # at least, at most
    settle_runs: int = 2  # unmeasured, at the beginning of each block


class _Timed:
    """One session with its inputs loaded, and the times of its runs by block."""

    def __init__(self, session: Session, feeds: Feeds, plan: LatencyPlan, clock: Clock) -> None:
        self.session = session
        self.blocks: list[Floats] = []
        self._plan = plan
        self._clock = clock
        self._is_remote = isinstance(session, RemoteSession)
        session.prepare(feeds)
        self._runs = self._warm_up()

    def _warm_up(self) -> int:
        """Run until caches and frequency settle; gives the runs that fill a block."""
        times: list[int] = []
        while len(times) < self._plan.warmup_runs or sum(times) < self._plan.warmup_seconds * 1e9:
            times += self._several(self._plan.warmup_runs if self._is_remote else 1)
        fitting = int(self._plan.block_seconds * 1e9 / max(1.0, float(np.median(times))))
        least, most = self._plan.runs_per_block
        return min(max(fitting, least), most)

    def run_block(self) -> None:
        times = self._several(self._plan.settle_runs + self._runs)[self._plan.settle_runs :]
        self.blocks.append(np.asarray(times, dtype=np.float64) / _NS_PER_MS)

    def _several(self, runs: int) -> list[int]:
        """Nanoseconds of each run, by the device's own clock where the session is elsewhere."""
        if isinstance(self.session, RemoteSession):
            return self.session.time_runs(runs)
        return [self._once() for _ in range(runs)]

    def _once(self) -> int:
        began = self._clock()
        self.session.invoke()
        return self._clock() - began

    @property
    def all_runs(self) -> Floats:
        return np.concatenate(self.blocks)


def measure_latency(
    open_artifact: Callable[[], Session],
    open_fp32: Callable[[], Session] | None,
    feeds: Feeds,
    *,
    plan: LatencyPlan | None = None,
    clock: Clock = time.perf_counter_ns,
    progress: Progress = SILENT,
) -> Latency:
    """Milliseconds of `Session.invoke` alone; `load_ms` is the time of `open_artifact`, or what the
    session says of it.

    Args:
        open_artifact, open_fp32: open the two files; both sessions are closed before return.
        clock: nanoseconds, monotonic.

    Returns:
        All None, with the reason, where the session says that its timing means nothing.

    Raises:
        DeviceError: the device is unavailable or fails.
    """
    plan = plan or LatencyPlan()
    began = clock()
    session = open_artifact()
    load_ms = (clock() - began) / _NS_PER_MS
    if isinstance(session, _LoadTimed):
        load_ms = session.load_ms
    baseline: Session | None = None
    try:
        if session.latency_reason is not None:
            return not_measured(session.device, session.threads, session.latency_reason)
        artifact = _Timed(session, feeds, plan, clock)
        baseline = open_fp32() if open_fp32 is not None else None
        fp32 = _Timed(baseline, feeds, plan, clock) if baseline is not None else None
        _take_turns(artifact, fp32, plan, progress)
        if isinstance(session, _Judging):
            session.judge([block.tolist() for block in artifact.blocks])
        return _result(artifact, fp32, load_ms)
    finally:
        session.close()
        if baseline is not None:
            baseline.close()


def not_measured(device: str, threads: int, reason: str) -> Latency:
    """The result where no time was, or could honestly be, taken."""
    return Latency(device, threads, None, None, None, None, None, reason=reason)


def _take_turns(
    artifact: _Timed, fp32: _Timed | None, plan: LatencyPlan, progress: Progress
) -> None:
    pair = [artifact] if fp32 is None else [artifact, fp32]
    for index in progress.track(range(plan.blocks), "latency", plan.blocks):
        for timed in pair if index % 2 == 0 else reversed(pair):
            timed.run_block()


def _result(artifact: _Timed, fp32: _Timed | None, load_ms: float) -> Latency:
    runs = artifact.all_runs
    median, p90, p99 = (float(q) for q in np.percentile(runs, [50, 90, 99]))
    fp32_median = None if fp32 is None else float(np.median(fp32.all_runs))
    return Latency(
        device=artifact.session.device,
        threads=artifact.session.threads,
        median_ms=median,
        p90_ms=p90,
        p99_ms=p99,
        fp32_median_ms=fp32_median,
        speedup=None if fp32_median is None else fp32_median / median,
        speedup_ci95=None if fp32 is None else _speedup_interval(artifact, fp32),
        load_ms=load_ms,
        runs=len(runs),
        reason="there is no fp32 file to compare with" if fp32 is None else None,
    )


def _speedup_interval(artifact: _Timed, fp32: _Timed) -> Interval | None:
    """Blocks, not runs, are resampled: runs of a block share the machine's mood."""
    mine, theirs = (np.asarray([np.median(b) for b in t.blocks]) for t in (artifact, fp32))
    return statistic_interval(
        lambda chosen: float(np.median(theirs[chosen]) / np.median(mine[chosen])),
        len(mine),
        resamples=RESAMPLES,
    )
