"""Progress on the user's terminal; silent where there is none."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, TypeVar

from edgewise.progress import SILENT, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

T = TypeVar("T")


@contextmanager
def shown_progress(stream: TextIO, *, verbose: bool = False) -> Iterator[Progress]:
    """Bars on a terminal, lines with `verbose`, nothing elsewhere."""
    if verbose:
        lines = LineProgress(stream)
        yield lines
        lines.finish()
    elif stream.isatty():
        bars = _rich_progress(stream)
        with bars:
            yield BarProgress(bars)
    else:
        yield SILENT


class LineProgress:
    """One line when a step begins, with the time since the start, and one when all is done."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._start = time.perf_counter()

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        self._write(label if total is None else f"{label} ({total})")
        yield from items

    def step(self, label: str) -> None:
        self._write(label)

    def finish(self) -> None:
        self._write("done")

    def _write(self, text: str) -> None:
        self._stream.write(f"[{time.perf_counter() - self._start:7.2f} s] {text}\n")


class BarProgress:
    """A bar for what can be counted, a spinner for what cannot; gone when finished."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._spinner = bars.add_task("starting", total=None)

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        self._bars.update(self._spinner, visible=False)
        task = self._bars.add_task(label, total=total)
        try:
            for item in items:
                yield item
                self._bars.advance(task)
        finally:
            self._bars.remove_task(task)

    def step(self, label: str) -> None:
        self._bars.reset(self._spinner, description=label, total=None, visible=True)


def _rich_progress(stream: TextIO) -> RichProgress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.progress import Progress as Bars

    return Bars(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(file=stream),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
