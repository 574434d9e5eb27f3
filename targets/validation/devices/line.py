"""Messages to a process and back: a line of JSON, then as many bytes as it says.

The process may be one of this machine, or ssh or adb with something behind it. It is started in a
process group of its own, so that giving up ends all of it.

1. Shells on the way may greet: what comes before an answer and is none is put aside, and told where
   the line breaks.
2. Writing, reading, and listening to standard error take turns in one loop that looks at the time,
   so that neither side waits for the other for ever.
3. Whatever ends a request in its middle (no answer in time, Ctrl-C) ends the process too: the rest
   of that answer would be taken for the next.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from typing import IO, Any

_LAST_WORDS = 16_384  # bytes of standard error that are kept
_MOST_GREETING = 1 << 20  # bytes that may come before an answer
_MOST_HEADER = 16 << 20
_BLOCK = 1 << 18
_GRACE = 2.0  # seconds between asking a process to end and ending it
_LINGERING = 5.0  # seconds that a process has to end after its output did
_LOOK = 0.5  # seconds after which a request looks whether it was interrupted
_SIGNALS = {
    signal.SIGABRT: "the runtime gave up (SIGABRT)",
    signal.SIGBUS: "it read what is not there any more (SIGBUS): the disk failed, or is full",
    signal.SIGILL: "the processor does not know an instruction (SIGILL)",
    signal.SIGKILL: "it was killed (SIGKILL), most likely because memory ran out",
    signal.SIGSEGV: "the runtime crashed (SIGSEGV)",
    signal.SIGTERM: "it was asked to end (SIGTERM)",
}


class LineBroken(Exception):
    """The process ended, or said what is no answer. `code` is None where it still ran."""

    def __init__(self, code: int | None, said: str) -> None:
        self.code, self.said = code, said
        super().__init__(said)


class LineTimeout(Exception):
    """No answer came in time; the process was ended."""


class _NoAnswer(Exception):
    """What comes is too much to be a greeting."""


class Line:
    """One request at a time: threads that share a line take turns."""

    def __init__(self, process: subprocess.Popen[bytes], prelude: bytes = b"") -> None:
        """`prelude` goes before the first request. The process has pipes for standard input,
        output and error."""
        self._process = process
        self._prelude = prelude
        self._input, self._output, self._errors = (
            _pipe(stream) for stream in (process.stdin, process.stdout, process.stderr)
        )
        for stream in (self._input, self._output, self._errors):
            os.set_blocking(stream.fileno(), False)
        self._incoming = bytearray(_buffered(self._output))
        self._said = bytearray(_buffered(self._errors))
        self._greeting = bytearray()
        self._is_mute = False  # standard error has ended
        self._is_over = False
        self._give_up_at: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether the process was ended, or ended itself."""
        return self._is_over

    def request(
        self, do: str, payload: bytes = b"", *, timeout: float, **fields: Any
    ) -> tuple[dict[str, Any], bytearray]:
        """Ask, and wait for the answer.

        Raises:
            LineTimeout: there is none after `timeout` seconds.
            LineBroken: the process ended.
        """
        if self._is_over:
            raise LineBroken(self._process.returncode, self.last_words())
        header = json.dumps({"do": do, "size": len(payload), **fields}).encode() + b"\n"
        try:
            return self._exchange([self._prelude, header, payload], time.monotonic() + timeout)
        except _NoAnswer as error:
            self.kill()
            raise LineBroken(None, self.last_words()) from error
        except (EOFError, OSError) as error:
            code = self._settled()
            raise LineBroken(code, self.last_words()) from error
        except BaseException:
            self.kill()
            raise
        finally:
            self._prelude = b""

    def last_words(self) -> str:
        """The end of what the process said on standard error, else of what was no answer."""
        said = self._said.decode(errors="replace").strip()
        return said or bytes(self._greeting).decode(errors="replace").strip()

    def interrupt(self) -> None:
        """End the other side from another thread: whoever waits for an answer gets LineBroken."""
        if self._give_up_at is None:  # else it was said before
            self._give_up_at = time.monotonic() + _GRACE
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process and its group: they are asked to, and then made to."""
        if self._is_over:
            return
        self._is_over = True
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_GRACE)
        self._signal(signal.SIGKILL)  # those that remain of the group, too
        self._process.wait()

    def close(self, patience: float = 10.0) -> None:
        """Close the input, which ends the other side, and wait for it so many seconds."""
        for stream in (self._input, self._output):
            with suppress(OSError):  # what was still to be written finds nobody
                stream.close()
        if not self._is_over:
            deadline = time.monotonic() + patience
            while self._process.poll() is None and time.monotonic() < deadline:
                self._listen(0.05)
        self.kill()
        self._errors.close()

    def _exchange(self, message: list[bytes], deadline: float) -> tuple[dict[str, Any], bytearray]:
        pending = [memoryview(part) for part in message if part]
        header: dict[str, Any] | None = None
        while True:
            if header is None:
                header = self._next_header()
            if header is not None and not pending and len(self._incoming) >= header["size"]:
                size = header.pop("size")
                attached = self._incoming[:size]
                del self._incoming[:size]
                return header, attached
            self._wait(bool(pending), deadline)
            self._hear()
            if pending:
                self._write(pending)
            self._read()

    def _wait(self, writing: bool, deadline: float) -> None:
        now = time.monotonic()
        if self._give_up_at is not None and now > self._give_up_at:
            raise EOFError("the line was interrupted")
        if now > deadline:
            raise LineTimeout
        waiting = select.poll()
        waiting.register(self._output, select.POLLIN)
        if writing:
            waiting.register(self._input, select.POLLOUT)
        if not self._is_mute:
            waiting.register(self._errors, select.POLLIN)
        waiting.poll(min(deadline - now, _LOOK) * 1000)

    def _write(self, pending: list[memoryview]) -> None:
        with suppress(BlockingIOError):
            while pending:
                written = os.write(self._input.fileno(), pending[0][:_BLOCK])
                pending[0] = pending[0][written:]
                if not pending[0]:
                    del pending[0]

    def _read(self) -> None:
        with suppress(BlockingIOError):
            block = os.read(self._output.fileno(), _BLOCK)
            if not block:
                raise EOFError("the line is closed")
            self._incoming += block

    def _hear(self) -> None:
        """What is there of standard error, without waiting."""
        with suppress(BlockingIOError):
            while not self._is_mute:
                block = os.read(self._errors.fileno(), _BLOCK)
                self._is_mute = not block
                self._said += block
                del self._said[:-_LAST_WORDS]

    def _listen(self, seconds: float) -> None:
        if self._is_mute:
            time.sleep(seconds)
            return
        waiting = select.poll()
        waiting.register(self._errors, select.POLLIN)
        waiting.poll(seconds * 1000)
        self._hear()

    def _next_header(self) -> dict[str, Any] | None:
        """The next line that is an answer's (case 1); None where it is not there yet."""
        while (end := self._incoming.find(b"\n")) >= 0:
            line = bytes(self._incoming[:end])
            del self._incoming[: end + 1]
            header = _parsed(line)
            if header is not None:
                self._greeting.clear()
                return header
            self._greeting += line + b"\n"
        if len(self._incoming) > _MOST_HEADER or len(self._greeting) > _MOST_GREETING:
            self._greeting = self._greeting or self._incoming[:200]
            raise _NoAnswer
        return None

    def _settled(self) -> int | None:
        """The exit code, once the process ended; None where it goes on, and was ended here."""
        deadline = self._give_up_at or time.monotonic() + _LINGERING
        while (code := self._process.poll()) is None and time.monotonic() < deadline:
            self._listen(0.02)
        self._hear()
        self.kill()
        return code

    def _signal(self, number: int) -> None:
        with suppress(OSError):
            os.killpg(self._process.pid, number)


def exit_reason(code: int | None, said: str) -> str:
    """Why a process ended, in a few words: a signal (as the code of the process itself, or of a
    shell around it), else the last line that it said."""
    number = -code if code is not None and code < 0 else (code or 0) - 128
    if number in _SIGNALS:
        return _SIGNALS[signal.Signals(number)]
    if said:
        return said.splitlines()[-1].strip()
    return "it says nothing, and goes on" if code is None else f"it ended with code {code}"


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _buffered(stream: Any) -> bytes:
    """What Python has read of a pipe already, for somebody who read its first lines."""
    ahead: bytes = stream.peek()
    return ahead


def _parsed(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"{"):
        return None
    try:
        header = json.loads(line)
    except ValueError:
        return None
    size = header.get("size")
    return header if isinstance(size, int) and size >= 0 else None
