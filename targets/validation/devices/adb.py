"""A phone that the system's adb reaches: `adb:SERIAL`, or `adb` for the only one.

The bundle lies in `/data/local/tmp/edgewise` (`store`): a phone's shell may run programs there. The
runner is started by `adb shell` with its standard streams as the line; it ends with the line, since
adb's daemon closes them when the cable or the network goes.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping

from edgewise.errors import DeviceError
from edgewise.progress import SILENT, Progress
from edgewise.targets.validation.devices.adb_client import Adb, without_noise
from edgewise.targets.validation.devices.adb_shell import AdbShell, connect
from edgewise.targets.validation.devices.address import DeviceAddress
from edgewise.targets.validation.devices.bundle.installation import Installation, installed
from edgewise.targets.validation.devices.launch import explain_end, launch
from edgewise.targets.validation.devices.phone import PhoneFacts, read_phone
from edgewise.targets.validation.devices.store import Store, clean

PLACES = ("/data/local/tmp/edgewise",)
#: what adb says of its own; a script's words come without its name
_OF_ADB = re.compile(r"(?:adb: )?error: |adb: ")
#: what adb ends with where the phone told no code
_NO_CODE = 255


class AdbDevice:
    """Implements `Device`."""

    def __init__(self, address: DeviceAddress, installation: Installation | None = None) -> None:
        self.address = address.text
        self.latency_reason: str | None = None
        self.bundle: str | None = None
        self.progress: Progress = SILENT
        self._serial = address.detail
        self._installation = installation
        self._adb = Adb()
        self._shell: AdbShell | None = None
        self._is_suspect = False  # the bundle there, after an end that nothing else explains
        #: what the phone said of itself when it was connected
        self.facts: PhoneFacts | None = None

    def start(self) -> subprocess.Popen[bytes]:
        shell = self.shell()
        store = self._store(shell)

        def begin(script: str) -> subprocess.Popen[bytes]:
            return self._adb.start(shell.command(script), self.address, subprocess.PIPE)

        process = launch(self, store, begin, thoroughly=self._is_suspect)
        self._is_suspect = False
        return process

    def shell(self) -> AdbShell:
        """The phone's shell, once it is known to be an ARM64 phone. Raises DeviceError."""
        if self._shell is None:
            shell = connect(self._adb, self._serial, self.address)
            self.facts = read_phone(shell)
            self._shell = shell
        return self._shell

    def explain(self, code: int | None, said: str) -> DeviceError:
        said = without_noise(said)
        if self._shell is not None:
            gone = self._shell.gone()
            if gone is not None:
                return gone
            last = said.splitlines()[-1:]
            if (code == _NO_CODE and not last) or (last and _OF_ADB.match(last[0])):
                return self._shell.broken(code, said)
        self._is_suspect = True
        return explain_end(self.address, code, said)

    def describe(self, hello: dict[str, object]) -> str:
        return self.address if self.facts is None else f"{self.address} ({self.facts})"

    def about(self) -> Mapping[str, str]:
        return {} if self.facts is None else self.facts.told()

    def close(self) -> None:
        """Look for the phone anew at the next start. Adb's server stays (`adb_client`)."""
        self._shell = None

    def clean(self) -> tuple[str, ...]:
        return clean(self.shell(), PLACES)

    def _store(self, shell: AdbShell) -> Store:
        found = self._installation or installed()
        return Store(shell, found.bundle, PLACES)
