"""Where the bundle lies on a device, and how it gets there: shared by boards (ssh) and phones (adb).

A device needs a POSIX shell and the tools of a busybox or a toybox (`tar`, `df`, `ls`, `mkdir`,
`mv`, `rm`, `tail`, `uname`), nothing else. All there is in one folder, the *place*:

| path below the place | what |
|---|---|
| `<digest>` | a complete bundle |
| `<digest>.part-<pid>` | one that a running shell unpacks; deleted when that ends early |
| `run-<pid>` | the temporary files of a running runner; deleted by the shell that started it |

What a process left that was killed is deleted by the next look at the place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.bundle.installation import Bundle


class LineLost(DeviceError):
    """The line to the device broke in the middle of a command: it may be asked again."""


@dataclass(frozen=True, slots=True)
class Said:
    """How a script ended on a device."""

    code: int
    output: str
    errors: str


class Shell(Protocol):
    """The shell of a device."""

    #: as the user wrote the device
    address: str

    def run(self, script: str, *, source: Path | None = None, timeout: float) -> Said:
        """Let `sh` run a script, with the bytes of a file as its standard input (else none).

        Raises:
            LineLost: the line broke.
            DeviceError: the device cannot be reached, or there is no end after `timeout` seconds.
        """


@dataclass(frozen=True, slots=True)
class Kept:
    """The bundle on a device."""

    place: PurePosixPath
    root: PurePosixPath  # of the bundle
    machine: str  # `uname -m`
    kernel: str  # `uname -r`


class Store:
    """The bundle of an installation on one device."""

    def __init__(self, shell: Shell, bundle: Bundle, places: Sequence[str]) -> None:
        """`places` are folders in order of preference, as words that the device's shell expands:
        constants of this program, never what a user wrote."""
        self._shell, self._bundle, self._places = shell, bundle, places

    def prepare(self) -> Kept:
        """Bring the bundle there where it is missing or damaged, and delete older ones.

        Raises DeviceError: no ARM64 system, no space, no place that may run programs, no `tar`, or
        the bundle arrives damaged twice.
        """
        raise NotImplementedError

    def start_script(self, kept: Kept) -> str:
        """What starts the runner there: it writes `STARTED` and a line end first, keeps temporary
        files below the place, and deletes them when the runner ends, however it does."""
        raise NotImplementedError

    def clean(self) -> tuple[str, ...]:
        """Delete all that Edgewise keeps there, and name it.

        Raises DeviceError where another run uses it."""
        raise NotImplementedError
