"""The folder that a build writes: complete, or as it was before."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType

from edgewise.errors import UsageError
from edgewise.report import FORMAT

_STAGES = "stages"
_REPORTS = ("report.html", "report.json")


class OutputFolder:
    """A build writes into `staging`; `publish` moves all of it into the folder.

    Owned are the folders of the targets, `stages`, and the two reports. Everything else in the
    folder is left alone, and a folder or file of such a name that Edgewise did not write is refused
    before any work. Use it in `with`: whatever happens, nothing half-written stays behind.
    """

    def __init__(self, path: Path, targets: Sequence[str]) -> None:
        self.path = path
        self._targets = tuple(targets)
        self._made: list[Path] = []
        self._workspace: Path | None = None

    @property
    def staging(self) -> Path:
        return self._inside("new")

    @property
    def scratch(self) -> Path:
        """For what the build needs and the user does not; gone at the end."""
        return self._inside("scratch")

    def __enter__(self) -> OutputFolder:
        """Raises UsageError when the folder cannot be written, or holds foreign files."""
        try:
            self._make_folders()
            self._workspace = Path(tempfile.mkdtemp(prefix=".edgewise-", dir=self.path))
        except OSError as error:
            self._clean()
            raise UsageError(
                "cannot write here",
                where=str(self.path),
                why=error.strerror or str(error),
                remedy="Choose another output folder (--out) or change its permissions.",
            ) from error
        try:
            self._refuse_foreign()
            self.staging.mkdir()
            self.scratch.mkdir()
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with uninterrupted():
            self._clean()

    def publish(self) -> None:
        """Replace the owned entries by the staged ones; on an error, all stay as they were."""
        retired = self._inside("retired")
        undo: list[Callable[[], object]] = []
        with uninterrupted():
            retired.mkdir()
            try:
                for name in self._owned():
                    old, new = self.path / name, self.staging / name
                    if old.exists():
                        _move(old, retired / name, undo)
                    if new.exists():
                        _move(new, old, undo)
            except BaseException:
                for step in reversed(undo):
                    step()
                raise
            self._made.clear()  # the folders are wanted now

    def _owned(self) -> tuple[str, ...]:
        return (*self._targets, _STAGES, *_REPORTS)

    def _inside(self, name: str) -> Path:
        if self._workspace is None:
            raise RuntimeError("an OutputFolder is used in `with`")
        return self._workspace / name

    def _make_folders(self) -> None:
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir()
            self._made.append(folder)

    def _refuse_foreign(self) -> None:
        for name in self._owned():
            entry = self.path / name
            if entry.exists() and not self._is_ours(entry):
                raise UsageError(
                    "was not written by Edgewise, and would be replaced",
                    where=str(entry),
                    remedy="Choose another output folder (--out), or move it away.",
                )

    def _is_ours(self, entry: Path) -> bool:
        if entry.is_dir() and not any(entry.iterdir()):
            return True
        if entry.name in self._targets:
            return _json_value(entry / "manifest.json", "target") == entry.name
        if entry.name == _STAGES:
            return (entry / "hub.onnx").is_file()
        if entry.name == "report.json":
            return str(_json_value(entry, "format")).startswith(FORMAT.rpartition("-")[0])
        return (self.path / "report.json").is_file()  # report.html is written with it

    def _clean(self) -> None:
        if self._workspace is not None:
            shutil.rmtree(self._workspace, ignore_errors=True)
        for folder in reversed(self._made):
            try:
                folder.rmdir()
            except OSError:  # something else was put there meanwhile
                break


def _move(source: Path, destination: Path, undo: list[Callable[[], object]]) -> None:
    source.rename(destination)
    undo.append(lambda: destination.rename(source))


def _json_value(path: Path, key: str) -> object:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document.get(key) if isinstance(document, dict) else None


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C and termination back until the block has ended."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    pending: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        pending.append(number)

    previous = {
        number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    for late in pending:
        signal.raise_signal(late)
