"""Devices without hardware: the runner in a Python of this machine, behind any ssh address.

The host in the address says how it behaves: `dead` cannot be reached, `breaks` answers once and
then ends whatever is asked, `emulated` is one whose times mean nothing, all others are fine.
"""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from edgewise.errors import DeviceError
from edgewise.progress import SILENT
from edgewise.targets.validation.devices import connections
from edgewise.targets.validation.devices.address import DeviceAddress
from edgewise.targets.validation.devices.runner import PROTOCOL

_RUNNER = (
    "import sys; n = int(sys.stdin.buffer.readline()); source = sys.stdin.buffer.read(n); "
    "exec(compile(source, 'runner', 'exec'), {'__name__': '__main__'})"
)
_BREAKS = (
    "import json, sys; stream = sys.stdin.buffer; stream.read(int(stream.readline())); "
    "stream.readline(); "
    f"print(json.dumps({{'protocol': {PROTOCOL}, 'machine': 'aarch64', 'size': 0}}), flush=True); "
    "stream.readline(); sys.exit('the cable was pulled')"
)


class StandInDevice:
    """Implements `edgewise.targets.validation.devices.device.Device`."""

    #: names of the hosts whose runner was started, and when
    started: list[tuple[str, float]] = []  # noqa: RUF012  # emptied by `stand_in`
    #: hosts whose files were deleted
    cleaned: list[str] = []  # noqa: RUF012

    def __init__(self, address: DeviceAddress) -> None:
        self.address, self._host = address.text, address.detail
        self.latency_reason = "nothing was timed" if self._host == "emulated" else None
        self.bundle, self.progress = "/far/away/bundle, sent now", SILENT

    def start(self) -> subprocess.Popen[bytes]:
        self._reach()
        self.started.append((self._host, time.monotonic()))
        return subprocess.Popen(
            [sys.executable, "-u", "-c", _BREAKS if self._host == "breaks" else _RUNNER, ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def explain(self, code: int | None, said: str) -> DeviceError:
        return DeviceError("the runner ended", where=self.address, why=said or f"code {code}")

    def describe(self, hello: dict[str, object]) -> str:
        return f"{self.address} (stand-in)"

    def about(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        pass

    def clean(self) -> tuple[str, ...]:
        self._reach()
        self.cleaned.append(self._host)
        return ("/far/away/bundle",)

    def _reach(self) -> None:
        if self._host == "dead":
            raise DeviceError("cannot be reached", where=self.address, remedy="Switch it on.")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[StandInDevice]:
    """From now on, every ssh address is a stand-in."""
    monkeypatch.setitem(connections.DEVICES, "ssh", f"{__name__}:{StandInDevice.__name__}")
    monkeypatch.setattr(StandInDevice, "started", [])
    monkeypatch.setattr(StandInDevice, "cleaned", [])
    return StandInDevice
