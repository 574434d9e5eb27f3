"""The line to an agent: a Python of this Mac, or one that the system's ssh reaches.

The agent is a file that is pushed over the line itself: the far Python is started with a bootstrap
of one line that reads the agent's length and then the agent. Nothing is installed there, and the
agent deletes what it writes.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib import resources
from typing import Any

from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.line import Line, LineBroken, LineTimeout, exit_reason
from edgewise.targets.validation.devices.openssh import FAILED as SSH_FAILED
from edgewise.targets.validation.devices.openssh import SshHost, is_safe

_BOOTSTRAP = (
    "import sys; n = int(sys.stdin.buffer.readline()); "
    "exec(compile(sys.stdin.buffer.read(n), 'edgewise-agent', 'exec'), {'__name__': '__main__'})"
)
_SCHEME = "mac"


@dataclass(frozen=True, slots=True)
class MacAddress:
    """`mac` (this machine), `mac:HOST` or `mac:HOST:PYTHON`; HOST is what ssh takes."""

    host: str = ""
    python: str = "python3"

    @classmethod
    def of(cls, device: str) -> MacAddress | None:
        """None where the device is no Mac. Raises DeviceError for one without a usable host."""
        scheme, _, rest = device.partition(":")
        if scheme != _SCHEME:
            return None
        if rest == "" and device == _SCHEME:
            return cls()
        host, _, python = rest.partition(":")
        if not host or not is_safe(host):
            raise DeviceError(
                "no host that ssh can be given",
                where=f"device '{device}'",
                remedy="Name it as mac:user@host, or mac:user@host:/path/to/python3.",
            )
        return cls(host, python or "python3")

    def __str__(self) -> str:
        return f"{_SCHEME}:{self.host}" if self.host else _SCHEME

    def command(self) -> list[str]:
        """What starts the bootstrap there."""
        if not self.host:
            return [sys.executable, "-u", "-c", _BOOTSTRAP]
        # ssh hands one line to the far shell: it is quoted for that shell
        far = shlex.join([self.python, "-u", "-c", _BOOTSTRAP])
        return [*SshHost(self.host).command(), far]


def refuse_no_mac(address: MacAddress) -> None:
    """Raises DeviceError where the address is this machine, and that is no Mac."""
    if not address.host and sys.platform != "darwin":
        raise DeviceError(
            "no Mac here",
            where="device 'mac'",
            why="Core ML runs on Apple hardware only",
            remedy="Use device 'local', which interprets the package, or mac:user@host.",
        )


def meet(address: MacAddress) -> dict[str, Any]:
    """What an agent there says of the machine. Raises DeviceError where there is none."""
    refuse_no_mac(address)
    with MacLink(address) as link:
        return link.about


class MacLink:
    """A running agent. One request at a time; used as a context or closed."""

    def __init__(self, address: MacAddress, *, timeout: float = 120.0) -> None:
        """Start the agent and greet it.

        Args:
            timeout: seconds that the greeting may take.

        Raises:
            DeviceError: the host cannot be reached, or its Python lacks something.
        """
        self.address = address
        try:
            process = subprocess.Popen(
                address.command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise DeviceError(
                "cannot start ssh", where=str(address), why=str(error.strerror)
            ) from error
        source = resources.files("edgewise.targets.apple.mac").joinpath("agent.py").read_bytes()
        self._line = Line(process, b"%d\n" % len(source) + source)
        try:
            self.about, _ = self.request("hello", timeout=timeout)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> MacLink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(
        self, do: str, payload: bytes = b"", *, timeout: float = 900.0, **fields: Any
    ) -> tuple[dict[str, Any], bytes]:
        """Ask, and wait for the answer.

        Raises:
            DeviceError: the agent fails at it, the line breaks, or no answer comes in `timeout`
                seconds.
        """
        try:
            answer, attached = self._line.request(do, payload, timeout=timeout, **fields)
        except LineTimeout as error:
            raise DeviceError(
                f"no answer to '{do}' in {timeout:g} s", where=str(self.address), why="timed out"
            ) from error
        except LineBroken as error:
            raise self._broken(error.code, error.said) from error
        if "error" in answer:
            raise DeviceError(f"'{do}' failed", where=str(self.address), why=answer["error"])
        return answer, bytes(attached)

    def close(self) -> None:
        """End the agent, which deletes what it wrote."""
        self._line.close()

    def _broken(self, code: int | None, said: str) -> DeviceError:
        why = exit_reason(code, said)
        if code == SSH_FAILED and self.address.host:
            return DeviceError(
                "cannot reach the Mac",
                where=str(self.address),
                why=why,
                remedy="Check that `ssh` reaches it without a password prompt.",
            )
        return DeviceError(
            "the agent on the Mac ended",
            where=str(self.address),
            why=why,
            remedy="It needs Python 3.9 or later with coremltools and numpy; name another one as"
            " mac:user@host:/path/to/python3.",
        )
