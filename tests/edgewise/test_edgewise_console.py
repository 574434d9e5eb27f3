"""Progress: bars on a terminal, lines with -v, nothing elsewhere."""

from __future__ import annotations

import io

import pytest

from edgewise.cli_run import Interrupts, WatchedProgress
from edgewise.console import shown_progress
from edgewise.progress import SILENT


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def use(stream: io.StringIO, *, verbose: bool) -> str:
    with shown_progress(stream, verbose=verbose) as progress:
        progress.step("export")
        assert list(progress.track([1, 2, 3], "calibrating [8]", 3)) == [1, 2, 3]
        assert list(progress.track(iter("ab"), "unknown length")) == ["a", "b"]
        progress.step("report")
    return stream.getvalue()


def test_silent_without_a_terminal() -> None:
    assert use(io.StringIO(), verbose=False) == ""


def test_lines_when_asked() -> None:
    lines = use(io.StringIO(), verbose=True).splitlines()
    assert [line.partition("] ")[2] for line in lines] == [
        "export", "calibrating [8] (3)", "unknown length", "report", "done",
    ]  # fmt: skip


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    text = use(Terminal(), verbose=False)
    assert "report" in text or "unknown length" in text
    assert text.endswith("\x1b[2K")  # the bars are wiped: only the result stays


def test_a_swallowed_interrupt_ends_the_next_step() -> None:
    interrupts = Interrupts()
    progress = WatchedProgress(SILENT, interrupts)
    progress.step("export")
    items = progress.track([1, 2], "items")
    assert next(items) == 1
    interrupts.received = 2
    with pytest.raises(KeyboardInterrupt):
        next(items)
    with pytest.raises(KeyboardInterrupt):
        progress.step("calibration")
