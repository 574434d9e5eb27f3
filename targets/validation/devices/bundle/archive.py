"""A folder as one archive whose bytes depend on the names and contents of its files alone."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path

from edgewise.files import files_below

_LEVEL = 4  # half the time of the usual one, and two per cent larger


def tree_digest(root: Path, *, without: Collection[Path] = ()) -> str:
    """The SHA-256 of all files below a folder: of their names, modes and contents."""
    digest = hashlib.sha256()
    for path in files_below(root):
        if path in without:
            continue
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{_name(path, root)} {_mode(path):o} {content}\n".encode())
    return digest.hexdigest()


def write_archive(root: Path, archive: Path) -> None:
    """All files below a folder in a .tar.gz, in the order of their names, with no time or owner."""
    with (
        archive.open("wb") as file,
        gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for entry, path in _entries(root):
            if path.is_dir():
                tar.addfile(entry)
            else:
                with path.open("rb") as content:
                    tar.addfile(entry, content)


def set_modes(root: Path) -> None:
    """What is started may be executed by all, and nothing written by others."""
    for path in [root, *root.rglob("*")]:
        started = path.is_dir() or path.parent.name == "bin" or path.name.startswith("ld-linux")
        path.chmod(0o755 if started else 0o644)


def _entries(root: Path) -> Iterator[tuple[tarfile.TarInfo, Path]]:
    for path in sorted(root.rglob("*")):
        entry = tarfile.TarInfo(_name(path, root))
        entry.mode = _mode(path)
        if path.is_dir():
            entry.type = tarfile.DIRTYPE
        else:
            entry.size = path.stat().st_size
        yield entry, path


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777
