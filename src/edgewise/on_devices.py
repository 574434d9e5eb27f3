"""Work on several devices: where this machine's speed is measured first and alone, then all other
devices side by side, each with its own work one after the other.

A device that fails does not hide what the others give. Anything else that goes wrong, an interrupt
among it, ends all of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from edgewise.errors import DeviceError
from edgewise.progress import Progress
from edgewise.targets.base import LOCAL
from edgewise.targets.validation.devices import (
    ResolvedDevice,
    connected,
    has_runner,
    interrupt_all,
    takes_times_here,
)

_AGAIN_SECONDS = 0.5  # between two interrupts of what does not end

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """Work on a device; `key` names its result among those of all jobs."""

    key: str
    device: ResolvedDevice
    run: Callable[[Progress], T]


@dataclass(slots=True)
class Outcome(Generic[T]):
    """The results and the seconds they took, by key, in the order of the jobs; and the first error
    of each device that failed, by what the user calls it."""

    results: dict[str, T] = field(default_factory=dict)
    failures: dict[str, DeviceError] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def raise_failures(self) -> None:
        """Raises DeviceError for all devices that failed, or returns."""
        if not self.failures:
            return
        first, *others = self.failures.items()
        if not others:
            raise _named(*first)
        raise DeviceError("; ".join(str(_named(*item)) for item in self.failures.items()))


def run_jobs(jobs: Sequence[Job[T]], progress: Progress) -> Outcome[T]:
    """Run all jobs. Raises what is no DeviceError of a single device."""
    alone, together = _groups(jobs)
    stop = threading.Event()
    found: dict[str, T] = {}
    seconds: dict[str, float] = {}
    failed: dict[str, DeviceError] = {}

    def work(group: Sequence[Job[T]]) -> None:
        began = time.perf_counter()
        for job, result in _results(group, progress, stop):
            if isinstance(result, DeviceError):
                failed.setdefault(job.device.text, result)
            else:
                found[job.key] = result
                seconds[job.key] = round(time.perf_counter() - began, 3)
            began = time.perf_counter()

    for group in alone:
        work(group)
    _side_by_side(work, together, stop)
    devices = dict.fromkeys(job.device.text for job in jobs)
    return Outcome(
        {job.key: found[job.key] for job in jobs if job.key in found},
        {device: failed[device] for device in devices if device in failed},
        {job.key: seconds[job.key] for job in jobs if job.key in seconds},
    )


def reach(devices: Sequence[ResolvedDevice], progress: Progress) -> None:
    """Connect to each device once, so that one that is not there is told before any work.

    Raises DeviceError for all that cannot be used.
    """
    distinct = {device.text: device for device in devices}.values()
    jobs = [Job(device.text, device, _greeting(device)) for device in distinct]
    run_jobs(jobs, progress).raise_failures()


def _greeting(device: ResolvedDevice) -> Callable[[Progress], None]:
    def greet(progress: Progress) -> None:
        if device.address.kind == "mac":  # all others are connected already, or this process
            from edgewise.targets.apple.mac import MacAddress, meet

            address = MacAddress.of(device.address.text)
            assert address is not None
            meet(address)

    return greet


def _results(
    group: Sequence[Job[T]], progress: Progress, stop: threading.Event
) -> Iterator[tuple[Job[T], T | DeviceError]]:
    """The results of one device's jobs; its runner is kept between them."""
    device = group[0].device
    heard = progress if device.text == LOCAL else DeviceProgress(progress, device.text)
    with ExitStack() as stack:
        try:
            if has_runner(device.text):
                heard.step("connect")
                stack.enter_context(connected(device.text, heard))
        except DeviceError as error:
            yield group[0], error  # none of the others will reach it
            return
        for job in group:
            if stop.is_set():
                return
            try:
                result: T | DeviceError = job.run(heard)
            except DeviceError as error:
                result = error
            yield job, result


def _side_by_side(
    work: Callable[[Sequence[Job[T]]], None],
    groups: Sequence[Sequence[Job[T]]],
    stop: threading.Event,
) -> None:
    if not groups:
        return
    with ThreadPoolExecutor(len(groups), thread_name_prefix="device") as pool:
        futures = [pool.submit(work, group) for group in groups]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stop.set()
            interrupt_all()  # nobody waits for a device any more
            while wait(futures, timeout=_AGAIN_SECONDS).not_done:
                interrupt_all()
            raise


def _groups(jobs: Sequence[Job[T]]) -> tuple[list[list[Job[T]]], list[list[Job[T]]]]:
    """The jobs by device: those that need this machine for themselves, and all others."""
    by_device: dict[str, list[Job[T]]] = {}
    for job in jobs:
        by_device.setdefault(job.device.text, []).append(job)
    alone: list[list[Job[T]]] = []
    together: list[list[Job[T]]] = []
    for group in by_device.values():
        (alone if _needs_this_machine(group[0].device) else together).append(group)
    return alone, together


def _needs_this_machine(device: ResolvedDevice) -> bool:
    try:
        return takes_times_here(device)
    except DeviceError:  # told when the device is used
        return False


def _named(device: str, error: DeviceError) -> DeviceError:
    """The error, with the device in it by the name that the user gave it."""
    if device in str(error):
        return error
    where = f"{device} ({error.where})" if error.where else device
    return DeviceError(error.what, where=where, why=error.why, remedy=error.remedy)


class DeviceProgress:
    """Passes on to another listener, with the device before each label. Implements `Progress`."""

    def __init__(self, progress: Progress, device: str) -> None:
        self._progress, self._device = progress, device

    def track(self, items: Iterable[U], label: str, total: int | None = None) -> Iterator[U]:
        return self._progress.track(items, f"{self._device}: {label}", total)

    def step(self, label: str) -> None:
        self._progress.step(f"{self._device}: {label}")
