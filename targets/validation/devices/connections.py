"""One runner per device, shared by all that is open there.

Starting a runner loads two runtimes, and reaching a device takes a while: sessions of one device
talk to one runner, which ends with the last of them. `connected` keeps it in between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from edgewise.errors import DeviceError
from edgewise.progress import SILENT, Progress
from edgewise.targets.validation.devices.address import DeviceAddress
from edgewise.targets.validation.devices.counter.device import CountingDevice
from edgewise.targets.validation.devices.device import Device
from edgewise.targets.validation.devices.link import RunnerLink
from edgewise.targets.validation.devices.registry import resolve
from edgewise.targets.validation.devices.waiting import end_waited

#: kind -> "module:class", which is made from a DeviceAddress
DEVICES = {
    "adb": "edgewise.targets.validation.devices.adb:AdbDevice",
    "emulated": "edgewise.targets.validation.devices.emulated:EmulatedDevice",
    "ssh": "edgewise.targets.validation.devices.ssh:SshDevice",
}
#: before `emulated:<cpu>`: the same core in a process that counts its instructions
COUNTED = "counted:"


@dataclass(slots=True)
class _Shared:
    link: RunnerLink
    users: int


_lock = threading.Lock()
_open: dict[str, _Shared] = {}
_starting: dict[str, threading.Lock] = {}


def acquire(text: str, progress: Progress = SILENT) -> RunnerLink:
    """The runner of a device, started where it is not; give it back with `release`.

    Raises DeviceError where the device cannot be used.
    """
    with _lock:
        starting = _starting.setdefault(text, threading.Lock())
    with starting:
        with _lock:
            if text in _open:
                _open[text].users += 1
                return _open[text].link
        device = device_at(text)
        device.progress = progress
        link = RunnerLink(device)
        with _lock:
            _open[text] = _Shared(link, 1)
        return link


def release(text: str) -> None:
    """Give a runner back; the last one ends it."""
    with _lock:
        shared = _open[text]
        shared.users -= 1
        if shared.users:
            return
        del _open[text]
    shared.link.close()


@contextmanager
def connected(text: str, progress: Progress = SILENT) -> Iterator[RunnerLink]:
    """The runner of a device, kept until the end of the block."""
    link = acquire(text, progress)
    try:
        yield link
    finally:
        release(text)


def interrupt_all() -> None:
    """End every runner at once, and what is on the way to one: threads that wait get DeviceError,
    and give it back. Some try once more, so that it is to be called until they have ended."""
    end_waited()
    with _lock:
        links = [shared.link for shared in _open.values()]
    for link in links:
        link.interrupt()


def has_runner(text: str) -> bool:
    """Whether a device is one that runs the bundle. Raises DeviceError for what is no device."""
    return resolve(text).address.kind in DEVICES


def device_at(text: str) -> Device:
    """Raises DeviceError for what is no device with a runner, or is not available."""
    if text.startswith(COUNTED):
        return CountingDevice(DeviceAddress.of(text.removeprefix(COUNTED)))
    address = resolve(text).address
    if address.kind not in DEVICES:
        raise DeviceError(f"the device '{text}' has no ARM64 runner")
    module, _, name = DEVICES[address.kind].partition(":")
    make = cast(Callable[[DeviceAddress], Device], getattr(import_module(module), name))
    return make(address)
