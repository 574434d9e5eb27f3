"""The output folder: all of a build, or what was there before."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from edgewise.errors import UsageError
from edgewise.output import OutputFolder, uninterrupted
from edgewise.report import FORMAT

TARGETS = ("android", "apple", "arm")


def write_build(folder: Path, target: str, content: str) -> None:
    (folder / target).mkdir()
    (folder / target / "manifest.json").write_text(json.dumps({"target": target, "n": content}))
    (folder / "stages").mkdir()
    (folder / "stages" / "hub.onnx").write_text(content)
    (folder / "report.json").write_text(json.dumps({"format": FORMAT, "n": content}))
    (folder / "report.html").write_text(content)


def build(out: Path, target: str, content: str) -> None:
    with OutputFolder(out, TARGETS) as folder:
        write_build(folder.staging, target, content)
        (folder.scratch / "fp32").write_text("not wanted")
        folder.publish()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_build_replaces_its_own_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "a" / "dist"
    build(out, "android", "first")
    (out / "notes.txt").write_text("mine")
    build(out, "arm", "second")
    # the first build's android folder would contradict the second build's report
    assert names(out) == ["arm", "notes.txt", "report.html", "report.json", "stages"]
    assert (out / "stages" / "hub.onnx").read_text() == "second"


def test_nothing_stays_without_publish(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "dist"
    with pytest.raises(KeyboardInterrupt), OutputFolder(out, TARGETS) as folder:
        write_build(folder.staging, "arm", "half")
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_an_error_while_moving_brings_all_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "dist"
    build(out, "arm", "first")
    rename = Path.rename

    def fail_late(self: Path, target: Path) -> Path:
        if self.name == "report.html" and "new" in self.parts:
            raise OSError("the disk is full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_late)
    with pytest.raises(OSError, match="disk is full"):
        build(out, "android", "second")
    assert names(out) == ["arm", "report.html", "report.json", "stages"]
    assert (out / "report.html").read_text() == "first"
    assert (out / "stages" / "hub.onnx").read_text() == "first"


@pytest.mark.parametrize("entry", ["android/app.kt", "stages/notes", "report.json", "report.html"])
def test_foreign_entries_are_refused_before_work(tmp_path: Path, entry: str) -> None:
    (tmp_path / entry).parent.mkdir(exist_ok=True)
    (tmp_path / entry).write_text("{}")
    before = names(tmp_path)
    with pytest.raises(UsageError, match="was not written by Edgewise"):
        OutputFolder(tmp_path, TARGETS).__enter__()
    assert names(tmp_path) == before


def test_empty_folders_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "arm").mkdir()
    build(tmp_path, "arm", "first")
    assert (tmp_path / "arm" / "manifest.json").is_file()


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(signal.SIGINT)
        reached = True
    assert reached
