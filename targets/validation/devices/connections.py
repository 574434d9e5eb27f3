"""One runner per device, shared by all that is open there.

Starting a runner loads two runtimes, and reaching a device takes a while: sessions of one device
talk to one runner, which ends with the last of them. `connected` keeps it in between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


_lock = threading.Lock()
#: what new users of a device get
_open: dict[str, RunnerLink] = {}
#: all that run, with those that were interrupted and not given back yet
_users: dict[RunnerLink, int] = {}
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
                link = _open[text]
                _users[link] += 1
                return link
        device = device_at(text)
        device.progress = progress
        link = RunnerLink(device)
        with _lock:
            _open[text] = link
            _users[link] = 1
        return link


def release(link: RunnerLink) -> None:
    """Give a runner back; the last one ends it."""
    with _lock:
        _users[link] -= 1
        if _users[link]:
            return
        del _users[link]
        for text in [text for text, shared in _open.items() if shared is link]:
            del _open[text]
    link.close()


@contextmanager
def connected(text: str, progress: Progress = SILENT) -> Iterator[RunnerLink]:
    """The runner of a device, kept until the end of the block."""
    link = acquire(text, progress)
    try:
        yield link
    finally:
        release(link)


def interrupt_all() -> None:
    """End every runner at once, and what is on the way to one: threads that wait get DeviceError,
    and give it back. Some try once more, so that it is to be called until they have ended. Who
    comes later gets a new runner."""
    end_waited()
    with _lock:
        links = list(_users)
        _open.clear()
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
