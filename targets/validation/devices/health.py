"""Whether a device was fit to be timed, by what it says of itself and how its times went.

1. `device/throttling`: it became slower within the run: every late block took longer than every
   early one, by more than a tenth in the median. Blocks are short turns in one sequence
   (`validation.latency`), so that one slow moment is one block. A Raspberry Pi also tells by flags
   (bits of `get_throttled`, in the documentation of its `vcgencmd`).
2. `device/busy`: it was at work before the first run.
3. `device/governor`: its clock is held down.
4. `device/noisy`: one run in a hundred takes several times as long as the median.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgewise.findings import Finding

_SLOWER = 1.10
_NOISY = 3.0
_LEAST_BLOCKS, _LEAST_RUNS = 6, 100
_LATE = 0.3  # share of the blocks that are early, and that are late
_HELD_DOWN = ("powersave",)
_NOW = {0: "the supply's voltage is too low", 1: "its clock is capped", 2: "it is throttled",
        3: "it is near its limit of temperature"}  # fmt: skip
_SINCE_BOOT = 16

Status = Mapping[str, Any]
Blocks = Sequence[Sequence[float]]  # milliseconds of each run, block by block


def health_findings(
    before: Status, after: Status, blocks: Blocks, *, cores: int, threads: int
) -> tuple[Finding, ...]:
    """What to know about times that were taken between two looks at a device."""
    found = (
        _throttling(before, after, blocks),
        _busy(before, cores, threads),
        _governor(before),
        _noisy(blocks),
    )
    return tuple(finding for finding in found if finding is not None)


def _throttling(before: Status, after: Status, blocks: Blocks) -> Finding | None:
    drift = _drift(blocks)
    flags = _new_flags(before.get("throttled"), after.get("throttled"))
    if drift is None and not flags:
        return None
    told = []
    if drift is not None:
        told.append(f"the last runs took {drift[1]:.3g} ms for {drift[0]:.3g} ms of the first")
    told += [f"the board says that {flag}" for flag in flags]
    hot = before.get("temperature_c"), after.get("temperature_c")
    if hot[0] is not None and hot[1] is not None:
        told.append(f"it went from {hot[0]:.0f} to {hot[1]:.0f} °C")
    clocks = before.get("mhz") or [], after.get("mhz") or []
    if all(clocks) and max(clocks[1]) < max(clocks[0]):
        told.append(f"its clock from {max(clocks[0]):.0f} to {max(clocks[1]):.0f} MHz")
    return Finding(
        "device/throttling",
        "warning",
        f"the device became slower while it was timed: {', '.join(told)}",
        remedy="Cool it, give it a better power supply, or wait, and measure again.",
    )


def _drift(blocks: Blocks) -> tuple[float, float] | None:
    """Milliseconds of the early and the late blocks, where these are slower."""
    medians = np.asarray([np.median(block) for block in blocks])
    if len(medians) < _LEAST_BLOCKS:
        return None
    count = max(2, int(_LATE * len(medians)))
    early, late = medians[:count], medians[-count:]
    first, last = float(np.median(early)), float(np.median(late))
    return (first, last) if last > _SLOWER * first and late.min() > early.max() else None


def _new_flags(before: int | None, after: int | None) -> list[str]:
    """What is so now, or came to be so since the look before."""
    if after is None:
        return []
    since = (after & ~(before or 0)) >> _SINCE_BOOT
    return [text for bit, text in _NOW.items() if (after | since) >> bit & 1]


def _busy(before: Status, cores: int, threads: int) -> Finding | None:
    load = before.get("load")
    if load is None or load + threads <= cores or load < 0.5:
        return None
    return Finding(
        "device/busy",
        "warning",
        f"the device was at work before the first run: a load of {load:.1f} on {cores} cores",
        remedy="End what else runs there, and measure again.",
    )


def _governor(before: Status) -> Finding | None:
    governor = before.get("governor")
    if not governor or not any(name in governor for name in _HELD_DOWN):
        return None
    clocks = before.get("mhz") or []
    clock = f", at {max(clocks):.0f} MHz" if clocks else ""
    return Finding(
        "device/governor",
        "warning",
        f"the device holds its clock down (governor {governor}{clock})",
        remedy="Choose the governor 'performance' to measure what it can do.",
    )


def _noisy(blocks: Blocks) -> Finding | None:
    runs = np.concatenate([np.asarray(block, np.float64) for block in blocks] or [np.zeros(0)])
    if len(runs) < _LEAST_RUNS:
        return None
    median, p99 = (float(value) for value in np.percentile(runs, [50, 99]))
    if p99 < _NOISY * median:
        return None
    return Finding(
        "device/noisy",
        "warning",
        f"one run in a hundred takes {p99:.3g} ms or more, {p99 / median:.1f} times the median of "
        f"{median:.3g} ms",
        remedy="End what else runs there; judge by the median.",
    )
