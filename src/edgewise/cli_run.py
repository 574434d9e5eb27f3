"""How a command runs: its streams, its progress, its interrupts, and its errors in one line."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn, TextIO, TypeVar

import typer

from edgewise.console import shown_progress
from edgewise.errors import EdgewiseError, InternalError
from edgewise.progress import Progress
from edgewise.quiet import own_streams

T = TypeVar("T")
_BROKEN_PIPE = 128 + 13  # what a shell shows for SIGPIPE


@dataclass(frozen=True, slots=True)
class Terminal:
    """What a command may use to speak."""

    progress: Progress
    verbose: bool
    _out: TextIO
    _bars: ExitStack

    def result(self) -> TextIO:
        """The stream for results. Progress ends here: bars must not be drawn into a table."""
        self._bars.close()
        return self._out


def run_command(action: Callable[[Terminal], None], *, verbose: bool) -> NoReturn:
    """Run the action, tell any error in one line, and exit with its code."""
    with own_streams(show_chatter=verbose) as streams, Interrupts.watched() as interrupts:
        code = _guarded(action, streams.out, streams.err, interrupts, verbose)
    raise typer.Exit(code)


class Interrupts:
    """Ctrl-C and termination, remembered: a library may swallow the exception they raise."""

    def __init__(self) -> None:
        self.received: int | None = None

    @classmethod
    @contextmanager
    def watched(cls) -> Iterator[Interrupts]:
        interrupts = cls()
        if threading.current_thread() is not threading.main_thread():
            yield interrupts
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.signal(number, interrupts._receive) for number in numbers}
        try:
            yield interrupts
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def raise_if_received(self) -> None:
        if self.received is not None:
            raise KeyboardInterrupt

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        raise KeyboardInterrupt


class WatchedProgress:
    """Passes on to another listener, and ends the command where an interrupt was swallowed."""

    def __init__(self, progress: Progress, interrupts: Interrupts) -> None:
        self._progress = progress
        self._interrupts = interrupts

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        for item in self._progress.track(items, label, total):
            self._interrupts.raise_if_received()
            yield item

    def step(self, label: str) -> None:
        self._interrupts.raise_if_received()
        self._progress.step(label)


def _guarded(
    action: Callable[[Terminal], None],
    out: TextIO,
    err: TextIO,
    interrupts: Interrupts,
    verbose: bool,
) -> int:
    try:
        with ExitStack() as bars:
            progress = bars.enter_context(shown_progress(err, verbose=verbose))
            action(Terminal(WatchedProgress(progress, interrupts), verbose, out, bars))
        out.flush()
    except BaseException as error:
        try:
            return _told(error, err, interrupts, verbose)
        except BrokenPipeError:
            return _BROKEN_PIPE
    return 0


def _told(error: BaseException, err: TextIO, interrupts: Interrupts, verbose: bool) -> int:
    """The exit code of an error, after one line about it."""
    if isinstance(error, KeyboardInterrupt) or interrupts.received is not None:
        err.write("error: interrupted\n")
        return 128 + (interrupts.received or signal.SIGINT)
    if isinstance(error, BrokenPipeError):  # the reader of our output has gone: nothing to tell
        return _BROKEN_PIPE
    if verbose:
        import traceback

        err.write("".join(traceback.format_exception(error)))
    err.write(f"error: {_line(error)}\n")
    return error.exit_code if isinstance(error, EdgewiseError) else InternalError.exit_code


def _line(error: BaseException) -> str:
    if isinstance(error, EdgewiseError):
        return str(error)
    if isinstance(error, MemoryError):
        return "out of memory. Close other programs, or build one target at a time (--target)."
    what = " ".join(str(error).split())[:300]
    return (
        f"unexpected {type(error).__name__}{': ' if what else ''}{what}. "
        "This is a defect in Edgewise: please report it with what -v prints."
    )


def run_app(app: typer.Typer, arguments: list[str] | None = None) -> int:
    """The exit code of a command line, with wrong options told in one line."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(given or ["--help"], standalone_mode=False)
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return 130
    except Exception as error:
        message = getattr(error, "format_message", None)  # click's errors, wherever typer keeps it
        if message is None:
            raise
        sys.stderr.write(f"error: {' '.join(message().split())}\n")
        return 2
    return code if isinstance(code, int) else 0
