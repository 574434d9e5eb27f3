"""A board that the system's ssh reaches: `ssh://user@host:port`, or an alias of the user's
configuration.

The bundle is kept in the board's cache folder, else in a folder for temporary files: some boards
mount the user's folders without the right to run programs, or on a small disk (`store`). The runner
is a command over ssh whose standard streams are the line.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from edgewise.errors import DeviceError
from edgewise.progress import SILENT, Progress
from edgewise.targets.validation.devices.address import DeviceAddress
from edgewise.targets.validation.devices.bundle.installation import Installation, installed
from edgewise.targets.validation.devices.launch import explain_end, launch
from edgewise.targets.validation.devices.openssh import FAILED, SshHost
from edgewise.targets.validation.devices.ssh_shell import SshShell
from edgewise.targets.validation.devices.store import Store, clean

#: /var/tmp before /tmp, which often is memory
PLACES = (
    "${XDG_CACHE_HOME:-$HOME/.cache}/edgewise-device",
    "/var/tmp/edgewise-device-$(id -u)",
    "/tmp/edgewise-device-$(id -u)",
)


class SshDevice:
    """Implements `Device`."""

    def __init__(self, address: DeviceAddress, installation: Installation | None = None) -> None:
        self.address = address.text
        self.latency_reason: str | None = None
        self.bundle: str | None = None
        self.progress: Progress = SILENT
        self._host = SshHost.of(address.detail)
        self._installation = installation
        self._shell: SshShell | None = None
        self._is_suspect = False  # the bundle there, after an end that nothing else explains

    def start(self) -> subprocess.Popen[bytes]:
        bundle = (self._installation or installed()).bundle
        self.close()
        self._shell = shell = SshShell(self._host, self.address)
        try:
            store = Store(shell, bundle, PLACES)
            process = launch(self, store, shell.start, thoroughly=self._is_suspect)
            shell.settle()
        except BaseException:
            self.close()
            raise
        self._is_suspect = False
        return process

    def explain(self, code: int | None, said: str) -> DeviceError:
        if code == FAILED and self._shell is not None:
            return self._shell.lost(said)
        self._is_suspect = True
        return explain_end(self.address, code, said)

    def describe(self, hello: dict[str, object]) -> str:
        model = hello.get("model") or hello.get("machine")
        return f"{self.address} ({model})" if model else self.address

    def about(self) -> Mapping[str, str]:
        return {}

    def close(self) -> None:
        if self._shell is not None:
            self._shell.close()
            self._shell = None

    def clean(self) -> tuple[str, ...]:
        shell = SshShell(self._host, self.address)
        try:
            return clean(shell, PLACES)
        finally:
            shell.close()
