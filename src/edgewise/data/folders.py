"""Folders of pictures or recordings, with one sub-folder per class, or flat without classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgewise.errors import DataError


@dataclass(frozen=True, slots=True)
class Listing:
    """Which files there are, and their classes where these are known."""

    files: tuple[tuple[str, Path], ...]  # name for messages, path
    labels: tuple[int, ...] | None = None
    class_names: tuple[str, ...] = ()

    def numbered_by(self, labels: Sequence[str]) -> Listing:
        """The same with the numbers that a model gives its classes, where it knows all of them by
        the names that the data have, in whatever order."""
        if self.labels is None or not self.class_names or not set(self.class_names) <= set(labels):
            return self
        numbers = [list(labels).index(name) for name in self.class_names]
        renumbered = tuple(numbers[label] for label in self.labels)
        return replace(self, labels=renumbered, class_names=tuple(labels))


def list_folder(folder: Path, suffixes: frozenset[str], noun: str) -> Listing:
    """Files of a folder in order of class and name.

    The class of a file is the index of its sub-folder among the sorted sub-folder names, or the
    sub-folder's name itself where all of them are numbers. Hidden files and other file types are
    passed over.

    Args:
        noun: what the files are called in messages, such as "picture".

    Raises:
        DataError: there is no such file, or files lie beside class folders.
    """
    classes = [d for d in sorted(folder.iterdir()) if d.is_dir() and not d.name.startswith(".")]
    by_class = [(d.name, found) for d in classes if (found := _files(d, suffixes, deep=True))]
    flat = _files(folder, suffixes, deep=False)
    if not by_class and not flat:
        raise DataError(
            f"there is no {noun} in this folder",
            where=str(folder),
            remedy=f"Known types are {', '.join(sorted(suffixes))}.",
        )
    if by_class and flat:
        raise DataError(
            f"{noun}s lie beside class folders",
            where=str(folder),
            why=f"'{flat[0].name}' has no class, those in '{by_class[0][0]}' have one",
            remedy="Move them into class folders, or use a labels CSV.",
        )
    if flat:
        return Listing(tuple((path.name, path) for path in flat))
    names = [name for name, _ in by_class]
    numbers = all(name.isascii() and name.isdigit() for name in names)
    files, labels = [], []
    for index, (name, found) in enumerate(by_class):
        files += [(str(path.relative_to(folder)), path) for path in found]
        labels += [int(name) if numbers else index] * len(found)
    return Listing(tuple(files), tuple(labels), () if numbers else tuple(names))


def _files(folder: Path, suffixes: frozenset[str], *, deep: bool) -> list[Path]:
    found = folder.rglob("*") if deep else folder.iterdir()
    return sorted(
        path
        for path in found
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )
