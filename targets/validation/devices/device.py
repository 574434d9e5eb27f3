"""What every kind of device offers: a running runner to talk to."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import Protocol

from edgewise.errors import DeviceError
from edgewise.progress import Progress


class LineLost(DeviceError):
    """The line to a device broke in the middle of something that may be asked again."""


class Device(Protocol):
    """A place where the runner of the bundle can be started."""

    #: as the user wrote it
    address: str
    #: None where times that are taken there are a device's; else why they are not
    latency_reason: str | None
    #: where the bundle lies and whether it was sent; None where it is this machine's
    bundle: str | None
    #: told of what takes a while when it is started
    progress: Progress

    def start(self) -> subprocess.Popen[bytes]:
        """Bring the bundle there where it is missing, and start the runner.

        The process has pipes for standard input, output and error, and a process group of its own
        (`start_new_session`).

        Raises:
            DeviceError: it cannot be reached, is no ARM64 machine, or has no space.
        """

    def explain(self, code: int | None, said: str) -> DeviceError:
        """Why the line broke: the exit code of the process (None where it still runs), and what
        it said on standard error."""

    def describe(self, hello: dict[str, object]) -> str:
        """The device in a report, in one short text, out of what the runner says of it."""

    def about(self) -> Mapping[str, str]:
        """What the device says of itself beside its runner, once it is started: its `model`, its
        `system`, and lines for people under other names. Empty where it says nothing."""

    def close(self) -> None:
        """Give up what `start` opened beside the process (a connection), once that has ended.
        `start` may be called again."""

    def clean(self) -> tuple[str, ...]:
        """Delete what Edgewise put there, and say what that was.

        Raises:
            DeviceError: it cannot be reached, or another run is using it.
        """
