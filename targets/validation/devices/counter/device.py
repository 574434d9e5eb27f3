"""An emulated core whose QEMU counts the instructions of marked regions (`edgecount.c`).

The plugin writes into a file that this process made and deleted from its folder at once: the
emulator inherits the open file, and nothing stays behind however both end.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.address import DeviceAddress
from edgewise.targets.validation.devices.bundle.installation import (
    Counter,
    Installation,
    installed,
)
from edgewise.targets.validation.devices.emulated import NO_TIMES, EmulatedDevice

NOT_INSTALLED = (
    "the counter is not installed: run `edgewise emulator install --counter` to count instructions"
)


@dataclass(frozen=True, slots=True)
class Region:
    """Instructions between two marks, by class; `elsewhere` are those of other threads."""

    by_class: Mapping[str, int]
    elsewhere: int = 0

    @property
    def total(self) -> int:
        return sum(self.by_class.values())

    def without(self, other: Region) -> Region:
        """Less those of another region, which has no more of any class."""
        own = {name: n - other.by_class[name] for name, n in self.by_class.items()}
        return Region(own, self.elsewhere)


class CountingDevice(EmulatedDevice):
    """`emulated:<cpu>` under the QEMU that has plugins. Implements `Device`."""

    def __init__(self, address: DeviceAddress, installation: Installation | None = None) -> None:
        """Raises DeviceError where the emulator or the counter is not installed."""
        found = installation or installed()
        if found.counter is None:
            raise DeviceError(NOT_INSTALLED, where=address.text)
        super().__init__(address, found)
        self._counter: Counter = found.counter
        self.latency_reason = NO_TIMES
        self._records: IO[bytes] | None = None
        self._read = 0

    def start(self) -> subprocess.Popen[bytes]:
        self._close_records()
        self._records = tempfile.TemporaryFile()  # noqa: SIM115 (until `close`)
        self._read = 0
        self._inherited = (self._records.fileno(),)
        return super().start()

    def close(self) -> None:
        self._close_records()
        super().close()

    def command(self) -> list[str]:
        assert self._records is not None
        plugin = f"{self._counter.plugin},fd={self._records.fileno()}"
        runner = self._installation.bundle.runner()
        return [str(self._counter.qemu), "-plugin", plugin, "-cpu", self.cpu, *runner]

    def regions(self) -> list[Region]:
        """Those that ended since this was last asked."""
        assert self._records is not None
        file = self._records.fileno()
        data = os.pread(file, os.fstat(file).st_size - self._read, self._read)
        self._read += len(data)
        return [_region(json.loads(line)) for line in data.splitlines()]

    def _close_records(self) -> None:
        if self._records is not None:
            self._records.close()
            self._records = None


def _region(record: dict[str, int]) -> Region:
    elsewhere = record.pop("elsewhere")
    return Region(record, elsewhere)
