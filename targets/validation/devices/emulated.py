"""ARM64 code on this machine: under QEMU's user mode, or natively where this machine is ARM64."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from edgewise.errors import DeviceError
from edgewise.progress import SILENT, Progress
from edgewise.targets.validation.devices.address import DeviceAddress
from edgewise.targets.validation.devices.bundle.installation import Installation, installed
from edgewise.targets.validation.devices.line import exit_reason

NO_TIMES = "emulated instructions take another time than a processor's: nothing was timed"
#: what the dynamic loader of this machine is told must not reach the one of the bundle
_FOREIGN = ("LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONHOME", "PYTHONPATH")


class EmulatedDevice:
    """`emulated:<cpu>`. Implements `Device`."""

    def __init__(self, address: DeviceAddress, installation: Installation | None = None) -> None:
        """Raises DeviceError where the emulator is not installed, or too old for the core."""
        self.address, self.cpu = address.text, address.detail
        self.bundle: str | None = None
        self.progress: Progress = SILENT
        self._installation = installation or installed()
        if self.cpu not in self._installation.cpus:
            raise DeviceError(
                f"QEMU {self._installation.qemu_version} does not know {self.cpu}",
                where=self.address,
                remedy="Install a newer qemu-user, then `edgewise emulator install --force`; or "
                f"choose one of {', '.join(self._installation.cpus)}.",
            )
        native = self._installation.qemu is None
        self.latency_reason: str | None = None if native else NO_TIMES
        self._inherited: tuple[int, ...] = ()  # open files that the emulator gets

    def start(self) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self.command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=self._inherited,
                env={key: value for key, value in os.environ.items() if key not in _FOREIGN},
            )
        except OSError as error:
            raise DeviceError(
                "cannot start the emulator",
                where=self.address,
                why=str(error),
                remedy="Run `edgewise emulator install` again.",
            ) from error

    def command(self) -> list[str]:
        """QEMU where this machine needs it, and the runner."""
        return [*self.emulation(), *self._installation.bundle.runner()]

    def emulation(self) -> list[str]:
        """What goes before a command of the bundle; nothing where this machine is ARM64."""
        installation = self._installation
        if installation.qemu is None:
            return []
        prefix = installation.qemu_prefix
        place = [] if prefix is None else ["-L", str(prefix / self.cpu)]
        return [str(installation.qemu), "-cpu", self.cpu, *place]

    def explain(self, code: int | None, said: str) -> DeviceError:
        what = "the runner ended" if self._installation.qemu is None else "the emulator ended"
        return DeviceError(what, where=self.address, why=exit_reason(code, said))

    def describe(self, hello: dict[str, object]) -> str:
        if self._installation.qemu is None:
            return f"{self.address} (this machine)"
        return f"{self.address} (QEMU {self._installation.qemu_version})"

    def about(self) -> Mapping[str, str]:
        return {}

    def close(self) -> None:
        """The process was all."""

    def clean(self) -> tuple[str, ...]:
        """Nothing is put anywhere: the installation is `edgewise emulator`'s."""
        return ()
