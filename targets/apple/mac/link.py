"""The line to an agent: a Python of this Mac, or one that the system's ssh reaches.

The agent is a file that is pushed over the line itself: the far Python is started with a bootstrap
of one line that reads the agent's length and then the agent. Nothing is installed there, and the
agent deletes what it writes.

`EDGEWISE_SSH` is the ssh command to use, options included (`ssh` without it).
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from typing import IO, Any

from edgewise.errors import DeviceError

_BOOTSTRAP = (
    "import sys; n = int(sys.stdin.buffer.readline()); "
    "exec(compile(sys.stdin.buffer.read(n), 'edgewise-agent', 'exec'), {'__name__': '__main__'})"
)
_SSH_OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15")
_SSH_FAILED = 255
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
        if not host or host.startswith("-"):
            raise DeviceError(
                "no host",
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
        ssh = shlex.split(os.environ.get("EDGEWISE_SSH", "ssh"))
        # ssh hands one line to the far shell: it is quoted for that shell
        far = shlex.join([self.python, "-u", "-c", _BOOTSTRAP])
        return [*ssh, *_SSH_OPTIONS, "--", self.host, far]


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
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the link
        try:
            self._process = subprocess.Popen(
                address.command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
            )
        except OSError as error:
            self._said.close()
            raise DeviceError(
                "cannot start ssh", where=str(address), why=str(error.strerror)
            ) from error
        source = resources.files("edgewise.targets.apple.mac").joinpath("agent.py").read_bytes()
        try:
            self._write(b"%d\n" % len(source) + source)
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
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(timeout, give_up)
        timer.daemon = True
        timer.start()
        try:
            header = json.dumps({"do": do, "size": len(payload), **fields})
            self._write(header.encode() + b"\n" + payload)
            answer, attached = self._read()
        except (OSError, ValueError) as error:
            raise self._broken(do, timeout if late.is_set() else None) from error
        finally:
            timer.cancel()
        if "error" in answer:
            raise DeviceError(f"'{do}' failed", where=str(self.address), why=answer["error"])
        return answer, attached

    def close(self) -> None:
        """End the agent, which deletes what it wrote."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                with suppress(OSError):  # what was still to be written finds nobody
                    stream.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def _write(self, message: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(message)
            self._process.stdin.flush()
        except OSError as error:
            raise self._broken("start", None) from error

    def _read(self) -> tuple[dict[str, Any], bytes]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise OSError("the line is closed")
        answer: dict[str, Any] = json.loads(line)
        size = int(answer.pop("size", 0))
        attached = self._process.stdout.read(size)
        if len(attached) < size:
            raise OSError("the answer is cut off")
        return answer, attached

    def _broken(self, do: str, timeout: float | None) -> DeviceError:
        if timeout is not None:
            return DeviceError(
                f"no answer to '{do}' in {timeout:g} s", where=str(self.address), why="timed out"
            )
        try:
            code: int | None = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = None
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        why = lines[-1] if lines else f"it ended with code {code}"
        if code == _SSH_FAILED and self.address.host:
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
