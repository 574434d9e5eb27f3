"""The system's adb, and what it tells of the phones that it sees.

`EDGEWISE_ADB` names another command. Everything else is adb's own: ANDROID_ADB_SERVER_PORT and the
like, keys, and the server, which adb starts where none runs and which then stays, as after any
other adb command: another program may have begun to use it in the meantime.

States and words are those of adb's sources (packages/modules/adb: `adb.cpp`, `transport.cpp`,
`client/commandline.cpp`).
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.waiting import waited

#: names another adb
COMMAND_VARIABLE = "EDGEWISE_ADB"
READY = "device"
_INSTALL = "Install Android's platform tools (on Debian: apt-get install adb), or name adb in "
_ENTRY = re.compile(r"(?P<serial>\S+)\s+(?P<rest>\S.*)")
_PROPERTY = re.compile(r"(?P<key>product|model|device|transport_id|usb):(?P<value>\S+)")
#: what adb says on standard error while all is well
_NOISE = re.compile(
    r"\* daemon |adb server version \(\d+\) doesn't match this client|"
    r"adb server is out of date|^\s*$"
)
_ANSWER_SECONDS = 30.0
#: state -> what is wrong, and what to do
_STATES = {
    "unauthorized": (
        "the phone does not trust this computer",
        "Unlock the phone, accept 'Allow USB debugging?' and try again.",
    ),
    "authorizing": (
        "the phone has not answered yet whether it trusts this computer",
        "Unlock the phone, accept 'Allow USB debugging?' and try again.",
    ),
    "offline": (
        "the phone is offline",
        "Plug it in again, or run `adb reconnect offline`.",
    ),
    "connecting": ("adb is still connecting to the phone", "Try again in a moment."),
    "no permissions": (
        "this user may not open the USB device",
        "Add udev rules for it (on Debian: android-sdk-platform-tools-common), and plug it in "
        "again.",
    ),
}
_NOT_ANDROID = ("bootloader", "host", "recovery", "rescue", "sideload")


@dataclass(frozen=True, slots=True)
class Attached:
    """One line of `adb devices -l`."""

    serial: str
    state: str
    model: str = ""

    def __str__(self) -> str:
        what = self.model.replace("_", " ") if self.state == READY else self.state
        return f"{self.serial} ({what})" if what else self.serial


@dataclass(frozen=True, slots=True)
class Reply:
    """How an adb command ended. `said` is its standard error without what adb always says."""

    code: int
    output: bytes
    said: str

    @property
    def text(self) -> str:
        return self.output.decode(errors="replace")


class Adb:
    """The command."""

    def __init__(self) -> None:
        self.command = shlex.split(os.environ.get(COMMAND_VARIABLE, "")) or ["adb"]

    def call(
        self,
        *arguments: str,
        where: str,
        source: BinaryIO | None = None,
        timeout: float = _ANSWER_SECONDS,
    ) -> Reply:
        """Run it to its end; `source` is its standard input.

        Raises DeviceError where adb cannot be started, or does not end in time.
        """
        process = self.start(arguments, where, source if source is not None else subprocess.DEVNULL)
        try:
            with waited(process, process.kill):
                output, said = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise DeviceError(
                f"no answer from adb in {timeout:g} s",
                where=where,
                why=f"`{shlex.join([*self.command, *arguments])[:120]}` hangs",
                remedy="Plug the phone in again, or restart adb with `adb kill-server`.",
            ) from error
        finally:
            end(process)
        return Reply(process.returncode, output, without_noise(said.decode(errors="replace")))

    def start(
        self, arguments: Sequence[str], where: str, source: BinaryIO | int
    ) -> subprocess.Popen[bytes]:
        """Start it with pipes. Raises DeviceError where there is no adb."""
        try:
            return subprocess.Popen(
                [*self.command, *arguments],
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise DeviceError(
                f"cannot start adb ('{self.command[0]}')",
                where=where,
                why=error.strerror or str(error),
                remedy=f"{_INSTALL}{COMMAND_VARIABLE}.",
            ) from error

    def start_server(self, where: str) -> bool:
        """Raises DeviceError where it does not start; gives whether it was not running before."""
        process = self.start(["start-server"], where, subprocess.DEVNULL)
        try:
            said = process.communicate(timeout=_ANSWER_SECONDS)[1].decode(errors="replace")
        except subprocess.TimeoutExpired:
            said = f"no answer in {_ANSWER_SECONDS:g} s"
        finally:
            end(process)
        if process.returncode != 0:
            raise DeviceError(
                "the adb server cannot be started",
                where=where,
                why=_last_line(without_noise(said)),
                remedy="Run `adb start-server` and look at what it says.",
            )
        return "daemon started" in said

    def attached(self, where: str) -> list[Attached]:
        """The phones that the server sees. Raises DeviceError."""
        reply = self.call("devices", "-l", where=where)
        if reply.code != 0:
            raise DeviceError("adb cannot list phones", where=where, why=_last_line(reply.said))
        lines = reply.text.splitlines()
        start = next((i for i, line in enumerate(lines) if line.startswith("List of devices")), -1)
        return [_attached(line) for line in lines[start + 1 :] if _ENTRY.match(line)]


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill what still runs, and close its pipes."""
    if process.poll() is None:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def without_noise(said: str) -> str:
    """What adb said, but for what it says when it starts its server."""
    return "\n".join(line for line in said.splitlines() if not _NOISE.search(line)).strip()


def state_error(phone: Attached, where: str) -> DeviceError:
    """Why a phone that adb sees cannot be used."""
    if phone.state in _NOT_ANDROID:
        return DeviceError(
            "the phone does not run Android now",
            where=where,
            why=f"it is in '{phone.state}'",
            remedy="Start it with `adb reboot`, and try again.",
        )
    what, remedy = _STATES.get(
        phone.state, (f"the phone is '{phone.state}'", "Plug it in again, and try again.")
    )
    return DeviceError(what, where=where, remedy=remedy)


def _attached(line: str) -> Attached:
    """`SERIAL  STATE [product:…] [model:…] …`; a missing permission is told in several words."""
    entry = _ENTRY.match(line)
    assert entry is not None
    rest = entry["rest"]
    if rest.startswith("no permissions"):
        return Attached(entry["serial"], "no permissions")
    properties = {found["key"]: found["value"] for found in _PROPERTY.finditer(rest)}
    return Attached(entry["serial"], rest.split()[0], properties.get("model", ""))


def _last_line(said: str) -> str:
    return said.splitlines()[-1] if said else "it says nothing"
