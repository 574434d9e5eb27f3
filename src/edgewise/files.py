"""Files that appear whole or not at all, and their hashes."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgewise.errors import UsageError


@contextmanager
def staged(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, moved over it when the block ends without an error.

    Works for a file and for a folder (an older folder of that name is replaced). On an error
    nothing is left behind and the older content stays.

    Raises:
        UsageError: the folder cannot be made or written, or what is at `path` is a folder and the
            new content a file, or the other way round.
    """
    path = Path(os.path.abspath(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        workspace = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    try:
        temporary = workspace / path.name
        yield temporary
        _replace(temporary, path, workspace)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def _replace(temporary: Path, path: Path, workspace: Path) -> None:
    if path.exists() and path.is_dir() != temporary.is_dir():
        raise _other_kind(path)
    if path.is_dir() and not path.is_symlink():  # rename cannot replace a folder that has content
        retired = workspace / ".retired"
        path.rename(retired)
        try:
            temporary.rename(path)
        except BaseException:
            retired.rename(path)
            raise
    else:
        temporary.replace(path)


def check_new_file(path: str | Path) -> None:
    """Find out before the work whether `staged` can write a file there; leaves nothing behind.

    Raises UsageError: no folder above can be written, or there is a folder of that name.
    """
    path = Path(os.path.abspath(path))
    if path.is_dir():
        raise _other_kind(path)
    nearest = next(folder for folder in path.parents if folder.exists())
    try:
        Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=nearest)).rmdir()
    except OSError as error:
        raise _unwritable(path.parent, error) from error


def _unwritable(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        "cannot write here",
        where=str(folder),
        why=error.strerror or str(error),
        remedy="Choose another output folder or change its permissions.",
    )


def _other_kind(path: Path) -> UsageError:
    return UsageError(
        "is a folder, not a file" if path.is_dir() else "is a file, not a folder",
        where=str(path),
        why="it would be replaced with all that it holds",
        remedy="Choose another name (--out).",
    )


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_below(path: Path) -> list[Path]:
    """`path` itself when it is a file, else every file below it, in a stable order."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file())
