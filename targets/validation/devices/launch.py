"""The beginning and the end of a runner that a device's shell started (`store.start_script`)."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.device import Device
from edgewise.targets.validation.devices.line import exit_reason
from edgewise.targets.validation.devices.scripts import DAMAGED, NO_FOLDER, STARTED
from edgewise.targets.validation.devices.store import BundleDamaged, Store
from edgewise.targets.validation.devices.waiting import waited

_PATIENCE = 60.0
#: exit code of a shell whose command was ended by a signal, less the signal
_BY_SIGNAL = 128


def launch(
    device: Device,
    store: Store,
    begin: Callable[[str], subprocess.Popen[bytes]],
    *,
    thoroughly: bool,
) -> subprocess.Popen[bytes]:
    """Bring the bundle there, and start the runner in it by `begin`, which is given the script.

    A bundle that does not start is compared with ours, and sent again once. Raises DeviceError.
    """
    try:
        return _begun(device, store, begin, thoroughly)
    except BundleDamaged:
        return _begun(device, store, begin, True)


def _begun(
    device: Device, store: Store, begin: Callable[[str], subprocess.Popen[bytes]], thoroughly: bool
) -> subprocess.Popen[bytes]:
    kept = store.prepare(thoroughly=thoroughly, progress=device.progress)
    device.latency_reason, device.bundle = kept.latency_reason, kept.told
    return _await_start(begin(store.start_script(kept)), device)


def _await_start(process: subprocess.Popen[bytes], device: Device) -> subprocess.Popen[bytes]:
    """Read what the device says of its own until the script says that it starts the runner."""
    assert process.stdout is not None
    timer = threading.Timer(_PATIENCE, end, (process,))
    timer.daemon = True
    timer.start()
    try:
        with waited(process, partial(end, process)):
            for line in process.stdout:
                if line.rstrip() == STARTED.encode():
                    return process
        raise _not_started(process, device)
    except BaseException:
        end(process)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        raise
    finally:
        timer.cancel()


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with its group."""
    if process.poll() is None:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)


def explain_end(address: str, code: int | None, said: str) -> DeviceError:
    """Why the runner itself ended: the exit code of the shell that started it, and its errors."""
    lines = [line for line in said.strip().splitlines() if line.strip()]
    if code == _BY_SIGNAL + signal.SIGKILL:
        return DeviceError(
            "the runner was killed",
            where=address,
            why="most likely the device ran out of memory (SIGKILL)",
            remedy="Free memory there, or try a smaller model.",
        )
    if code == NO_FOLDER:
        return DeviceError(
            "no folder for temporary files can be made",
            where=address,
            why=lines[-1] if lines else "the disk is full",
            remedy="Free space on the device.",
        )
    return DeviceError("the runner ended", where=address, why=exit_reason(code, said.strip()))


def _not_started(process: subprocess.Popen[bytes], device: Device) -> DeviceError:
    assert process.stderr is not None
    try:
        code: int | None = process.wait(timeout=5)
        said = process.stderr.read().decode(errors="replace")
    except subprocess.TimeoutExpired:
        code, said = None, "it says nothing"
    if code == -signal.SIGKILL:
        said = f"it did not start in {_PATIENCE:g} s"
    if code == DAMAGED:
        return BundleDamaged(
            "the bundle on the device does not start",
            where=device.address,
            why=(said.strip().splitlines() or ["its Python says nothing"])[-1],
            remedy="Check the disk and the system of the device.",
        )
    return device.explain(code, said.strip())
