"""The machine's own tools, run in a group of their own that ends with us."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_PATIENCE = 900.0  # seconds: a slow line, not a hang


class ToolFailed(Exception):
    """A tool ended with an error. `said` is what it wrote, its errors first."""

    def __init__(self, command: Sequence[str], code: int, said: str) -> None:
        self.command, self.code, self.said = tuple(command), code, said
        super().__init__(f"{Path(command[0]).name} ended with code {code}: {self.reason()}")

    def reason(self) -> str:
        """The line that tells most: the first that says it is an error, else the last."""
        lines = [line.strip() for line in self.said.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("E:", "ERROR:", "error:", "Error:"))]
        warnings = [line for line in lines if line.startswith("W:")]
        chosen = (errors or warnings or lines[-1:] or [f"code {self.code}"])[0]
        return chosen.partition(": ")[2] if chosen.startswith(("E:", "W:", "ERROR:")) else chosen


def run_tool(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    source: bytes = b"",
) -> str:
    """What the tool wrote to standard output. Messages are in English.

    Raises:
        ToolFailed: it could not be started, took a quarter of an hour, or ended with an error.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            start_new_session=True,
        )
    except OSError as error:
        raise ToolFailed(command, 127, error.strerror or str(error)) from error
    try:
        out, err = process.communicate(source, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        _end(process)
        raise ToolFailed(command, 124, f"no end after {_PATIENCE:g} s") from None
    except BaseException:
        _end(process)
        raise
    text = out.decode(errors="replace")
    if process.returncode:
        raise ToolFailed(command, process.returncode, err.decode(errors="replace") + text)
    return text


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
