"""The latency protocol, with sessions and a clock that do as they are told."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, cycle, repeat
from typing import Any

import numpy as np
import pytest

from edgewise.errors import DeviceError
from edgewise.targets.validation.latency import LatencyPlan, measure_latency

PLAN = LatencyPlan(
    warmup_seconds=0, warmup_runs=3, blocks=4, block_seconds=0.010, settle_runs=1,
    runs_per_block=(2, 50),
)  # fmt: skip
Opener = Callable[..., Callable[[], Any]]


@pytest.fixture
def opener(timed_session: Any, manual_clock: Any) -> Opener:
    def make(name: str, durations: Any, events: list[str], **options: Any) -> Callable[[], Any]:
        def open_session() -> Any:
            manual_clock.now += 7_000_000
            return timed_session(name, manual_clock, iter(durations), events, **options)

        return open_session

    return make


def test_medians_and_speedup(opener: Opener, manual_clock: Any) -> None:
    events: list[str] = []
    result = measure_latency(
        opener("int8", repeat(2.0), events),
        opener("fp32", repeat(5.0), events),
        {},
        plan=PLAN,
        clock=manual_clock,
    )
    assert (result.median_ms, result.p90_ms, result.p99_ms) == (2, 2, 2)
    assert (result.fp32_median_ms, result.speedup, result.speedup_ci95) == (5, 2.5, (2.5, 2.5))
    assert result.load_ms == 7
    assert result.runs == 4 * 5  # blocks of 10 ms
    assert (result.device, result.threads, result.reason) == ("fake", 1, None)


def test_blocks_take_turns(opener: Opener, manual_clock: Any) -> None:
    events: list[str] = []
    measure_latency(
        opener("a", repeat(5.0), events),
        opener("b", repeat(5.0), events),
        {},
        plan=PLAN,
        clock=manual_clock,
    )
    block = 3  # one to settle, two of 5 ms to fill 10 ms
    expected = [
        "open a", "prepare a", *["a"] * 3, "open b", "prepare b", *["b"] * 3,
        *["a"] * block, *["b"] * block, *["b"] * block, *["a"] * block,
        *["a"] * block, *["b"] * block, *["b"] * block, *["a"] * block,
        "close a", "close b",
    ]  # fmt: skip
    assert events == expected


def test_warm_up_and_settling_are_not_counted(opener: Opener, manual_clock: Any) -> None:
    # Three warm-up runs of 5 ms; then each block of two runs is preceded by a slow one.
    durations = chain(repeat(5.0, 3), cycle([400.0, 1.0, 3.0]))
    result = measure_latency(opener("a", durations, []), None, {}, plan=PLAN, clock=manual_clock)
    assert (result.median_ms, result.runs) == (2, 8)
    assert result.p99_ms == 3


def test_percentiles(opener: Opener, manual_clock: Any) -> None:
    plan = LatencyPlan(0, 1, 1, 1.0, (100, 100), 0)
    durations = [1.0, *np.random.default_rng(0).permutation(np.arange(1.0, 101.0))]
    result = measure_latency(opener("a", durations, []), None, {}, plan=plan, clock=manual_clock)
    assert result.median_ms == pytest.approx(50.5)
    assert result.p90_ms == pytest.approx(90.1)
    assert result.p99_ms == pytest.approx(99.01)


def test_warm_up_lasts_its_time(opener: Opener, manual_clock: Any) -> None:
    events: list[str] = []
    plan = LatencyPlan(0.1, 3, 1, 0.001, (1, 1), 0)
    opened = opener("a", repeat(10.0), events)
    measure_latency(opened, None, {}, plan=plan, clock=manual_clock)
    assert events.count("a") == 10 + 1


def test_interval_covers_varying_blocks(opener: Opener, manual_clock: Any) -> None:
    fp32 = chain(repeat(5.0, 3), [4, 4, 4, 6, 6, 6, 4, 4, 4, 6, 6, 6])
    result = measure_latency(
        opener("a", repeat(5.0), []), opener("b", fp32, []), {}, plan=PLAN, clock=manual_clock
    )
    assert result.speedup == pytest.approx(1.0)
    assert result.speedup_ci95 == pytest.approx((0.8, 1.2))


def test_without_fp32_file(opener: Opener, manual_clock: Any) -> None:
    result = measure_latency(opener("a", repeat(5.0), []), None, {}, plan=PLAN, clock=manual_clock)
    assert result.median_ms == 5
    assert result.speedup is None and result.fp32_median_ms is None
    assert result.reason == "there is no fp32 file to compare with"


def test_meaningless_latency_is_not_measured(opener: Opener, manual_clock: Any) -> None:
    events: list[str] = []
    result = measure_latency(
        opener("a", repeat(5.0), events, latency_reason="not on a Mac"),
        opener("b", repeat(5.0), events),
        {},
        plan=PLAN,
        clock=manual_clock,
    )
    assert result.median_ms is None and result.load_ms is None and result.runs == 0
    assert result.reason == "not on a Mac"
    assert events == ["open a", "close a"]


def test_sessions_are_closed_after_a_failure(opener: Opener, manual_clock: Any) -> None:
    events: list[str] = []

    def broken() -> Any:
        raise DeviceError("gone")

    with pytest.raises(DeviceError, match="gone"):
        opened = opener("a", repeat(5.0), events)
        measure_latency(opened, broken, {}, plan=PLAN, clock=manual_clock)
    assert events[-1] == "close a"
