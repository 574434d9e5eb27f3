"""The shell of a phone, over the system's adb.

Scripts run as `adb -s SERIAL shell -T SCRIPT`: version 2 of adb's shell protocol (Android 7 and
newer) hands bytes on unchanged, keeps standard error apart, and tells the exit code. adb alone does
not tell a script's code from its own when the phone goes away: a script ends with a line of ours,
and one that did not was cut off.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.adb_client import (
    READY,
    Adb,
    Attached,
    Reply,
    state_error,
)
from edgewise.targets.validation.devices.device import LineLost
from edgewise.targets.validation.devices.store import Said

_END = b"\nedgewise-end "
#: states that pass by themselves, and how long they may take
_PASSING = ("authorizing", "connecting", "offline")
_SETTLING_SECONDS = 4.0
_LOOK_SECONDS = 0.25
_OLD_ADB = "Install Android's platform tools of 2017 or newer."


@dataclass(slots=True)
class AdbShell:
    """Implements `store.Shell`."""

    adb: Adb
    serial: str
    address: str

    def run(self, script: str, *, source: Path | None = None, timeout: float) -> Said:
        # the parentheses keep an `exit` of the script from ours
        wrapped = f"({script}\n); code=$?; printf '\\nedgewise-end %s\\n' $code; exit $code"
        with ExitStack() as stack:
            stream = None if source is None else stack.enter_context(source.open("rb"))
            reply = self.adb.call(
                "-s",
                self.serial,
                "shell",
                "-T",
                wrapped,
                where=self.address,
                source=stream,
                timeout=timeout,
            )
        output, end, code = reply.output.rpartition(_END)
        if not end or not code.strip().isdigit():
            raise self.cut_off(reply)
        return Said(int(code), output.decode(errors="replace"), reply.said)

    def command(self, script: str) -> list[str]:
        """What starts a script there, its standard streams being those of the process."""
        return ["-s", self.serial, "shell", "-T", script]

    def cut_off(self, reply: Reply) -> DeviceError:
        """Why a command did not come to its end."""
        return self.gone() or self.broken(reply.code, reply.said)

    def broken(self, code: int | None, said: str) -> LineLost:
        """That the connection ended, though the phone is there."""
        last = said.splitlines()[-1:] or [f"adb ended with code {code}"]
        return LineLost("the connection to the phone broke", where=self.address, why=last[0])

    def gone(self) -> DeviceError | None:
        """Why the phone cannot be used any more; None where it can."""
        try:
            phones = self.adb.attached(self.address)
        except DeviceError as error:
            return error
        phone = next((item for item in phones if item.serial == self.serial), None)
        if phone is None:
            return DeviceError(
                "the phone is gone",
                where=self.address,
                why="it was unplugged, switched off or restarted, or lost its network",
                remedy="Plug it in again, and try again.",
            )
        return None if phone.state == READY else state_error(phone, self.address)


def connect(adb: Adb, serial: str, address: str) -> AdbShell:
    """The shell of the phone with that serial, or of the only phone where there is none.

    Raises DeviceError: no adb, no such phone, several phones, or one that cannot be used now.
    """
    patience = time.monotonic() + _SETTLING_SECONDS
    fresh = adb.start_server(address)  # it has to look for phones first
    while True:
        phones = adb.attached(address)
        named = [phone for phone in phones if not serial or phone.serial == serial]
        waiting = named[0].state in _PASSING if len(named) == 1 else fresh and not named
        if not waiting or time.monotonic() > patience:
            break
        time.sleep(_LOOK_SECONDS)
    phone = _chosen(phones, serial, address)
    if phone.state != READY:
        raise state_error(phone, address)
    _check_protocol(adb, phone.serial, address)
    return AdbShell(adb, phone.serial, address)


def _chosen(phones: Sequence[Attached], serial: str, address: str) -> Attached:
    listed = ", ".join(str(phone) for phone in phones)
    if serial:
        for phone in phones:
            if phone.serial == serial:
                return phone
        host, _, port = serial.rpartition(":")
        how = f"Run `adb connect {serial}`" if host and port.isdigit() else "Plug it in"
        raise DeviceError(
            "there is no such phone",
            where=address,
            why=f"adb sees {listed or 'none'}",
            remedy=f"{how}, and see `adb devices`.",
        )
    if len(phones) == 1:
        return phones[0]
    if phones:
        raise DeviceError(
            "several phones are attached",
            where=address,
            why=listed,
            remedy=f"Name one, such as adb:{phones[0].serial}.",
        )
    raise DeviceError(
        "no phone is attached",
        where=address,
        remedy="Plug one in, switch on 'USB debugging' in its developer options, and see "
        "`adb devices`.",
    )


def _check_protocol(adb: Adb, serial: str, address: str) -> None:
    reply = adb.call("-s", serial, "features", where=address)
    if reply.code != 0:
        why = reply.said.splitlines()[-1] if reply.said else f"it ended with code {reply.code}"
        raise DeviceError(
            "adb does not tell what the phone can do", where=address, why=why, remedy=_OLD_ADB
        )
    if "shell_v2" not in reply.text.split():
        raise DeviceError(
            "the phone cannot pass bytes through its shell unchanged",
            where=address,
            why="its adb daemon, or this machine's adb, lacks version 2 of the shell protocol",
            remedy=f"Use a phone with Android 7 or newer. {_OLD_ADB}",
        )
