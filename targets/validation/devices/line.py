"""Messages to a process and back: a line of JSON, then as many bytes as it says.

The process may be one of this machine, or ssh or adb with something behind it. It is started in a
process group of its own, so that giving up ends all of it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from contextlib import suppress
from typing import Any

_LAST_WORDS = 16_384  # bytes of standard error that are kept


class LineBroken(Exception):
    """The process ended, or said what is no answer. `code` is None where it still ran."""

    def __init__(self, code: int | None, said: str) -> None:
        self.code, self.said = code, said
        super().__init__(said)


class LineTimeout(Exception):
    """No answer came in time; the process was ended."""


class Line:
    """One request at a time, from whichever thread."""

    def __init__(self, process: subprocess.Popen[bytes], prelude: bytes = b"") -> None:
        """`prelude` goes before the first request."""
        self._process = process
        self._prelude = prelude
        self._lock = threading.Lock()
        self._said = b""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def request(
        self, do: str, payload: bytes = b"", *, timeout: float, **fields: Any
    ) -> tuple[dict[str, Any], bytes]:
        """Ask, and wait for the answer.

        Raises:
            LineTimeout: there is none after `timeout` seconds.
            LineBroken: the process ended.
        """
        with self._lock:
            late = threading.Event()
            timer = threading.Timer(timeout, self._give_up, (late,))
            timer.daemon = True
            timer.start()
            try:
                header = json.dumps({"do": do, "size": len(payload), **fields})
                self._write(self._prelude + header.encode() + b"\n" + payload)
                self._prelude = b""
                return self._read()
            except (OSError, ValueError) as error:
                if late.is_set():
                    raise LineTimeout(do) from error
                raise LineBroken(*self._ending()) from error
            finally:
                timer.cancel()

    def close(self, patience: float = 10.0) -> None:
        """Close the input, which ends the other side, and wait for it so many seconds."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                with suppress(OSError):  # what was still to be written finds nobody
                    stream.close()
        try:
            self._process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()
        self._listener.join(timeout=1)
        if self._process.stderr is not None:
            self._process.stderr.close()

    def interrupt(self) -> None:
        """End the other side from another thread: whoever waits for an answer gets LineBroken."""
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGTERM)

    def _write(self, message: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(message)
        self._process.stdin.flush()

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

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with suppress(OSError, ValueError):  # closed while it is read
            while block := self._process.stderr.read1(4096):  # type: ignore[attr-defined]
                self._said = (self._said + block)[-_LAST_WORDS:]

    def _ending(self) -> tuple[int | None, str]:
        try:
            code: int | None = self._process.wait(timeout=5)
            self._listener.join(timeout=1)
        except subprocess.TimeoutExpired:
            code = None
        return code, self._said.decode(errors="replace").strip()

    def _give_up(self, late: threading.Event) -> None:
        late.set()
        self._kill()

    def _kill(self) -> None:
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
