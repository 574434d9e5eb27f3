"""Pictures on disk: a folder with one sub-folder per class, a flat folder, or a labels CSV."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from edgewise.data.folders import Listing
from edgewise.data.image import ImagePreprocessing, read_picture
from edgewise.data.selection import spread
from edgewise.data.source import InputSpec, Sample
from edgewise.data.specs import fit_array
from edgewise.errors import DataError
from edgewise.files import sha256
from edgewise.findings import Finding

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_SHOWN_NAMES = 3
_CONVERTED = "data/converted-picture"


def list_csv(path: Path, column: str = "", wanted: str = "") -> Listing:
    """Pictures of a labels CSV with a `file` and, for labels, a `class` column.

    File paths are relative to the CSV. Classes are indices from 0, or names, which are numbered in
    sorted order. Other columns are passed over; `column` and `wanted` select rows.

    Raises:
        DataError: the CSV cannot be read, lacks a column, names a missing file or has no row.
    """
    rows, columns = _rows(path)
    for needed in ("file", column) if column else ("file",):
        if needed not in columns:
            raise DataError(
                f"there is no column '{needed}'",
                where=str(path),
                why=f"the columns are {', '.join(columns) or 'none'}",
                remedy="A labels CSV begins with a line such as: file,class",
            )
    chosen = [(line, row) for line, row in rows if not column or row[column] == wanted]
    if not chosen:
        values = sorted({row[column] for _, row in rows if row[column]}) if column else []
        why = f"column '{column}' holds {', '.join(values[:10])}" if values else "it has no rows"
        raise DataError("no row is selected", where=str(path), why=why)
    files = []
    for line, row in chosen:
        target = path.parent / (row["file"] or "")
        if not target.is_file():
            raise DataError(
                f"there is no file '{row['file']}'",
                where=f"{path}, line {line}",
                remedy="Paths are relative to the CSV.",
            )
        files.append((row["file"], target))
    if "class" not in columns:
        return Listing(tuple(files))
    # names are numbered over the whole file, so that a selection of rows keeps its numbers
    names = _class_names([row["class"] for _, row in rows], path)
    numbers = {name: index for index, name in enumerate(names)}
    labels = [_label(row["class"], numbers, f"{path}, line {line}") for line, row in chosen]
    return Listing(tuple(files), tuple(labels), names)


def _rows(path: Path) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            rows = [(reader.line_num, row) for row in reader]
            return rows, list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError("cannot read the labels CSV", where=str(path), why=str(error)) from error


def _class_names(classes: Sequence[str], path: Path) -> tuple[str, ...]:
    """The distinct names in sorted order; none where the classes are indices."""
    names = sorted({text.strip() for text in classes if text.strip()})
    if all(name.isascii() and name.isdigit() for name in names):
        return ()
    if all(_is_number(name) for name in names):
        wrong = next(name for name in names if not name.isdigit())
        raise DataError(
            f"class {wrong} is not an index",
            where=str(path),
            remedy="Classes are whole numbers from 0, or names.",
        )
    return tuple(names)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _label(text: str, numbers: Mapping[str, int], where: str) -> int:
    if not text.strip():
        raise DataError("the class is empty", where=where, remedy="Give every row a class.")
    return numbers[text.strip()] if numbers else int(text)


class PictureSource:
    """Decodes one picture at a time and keeps none."""

    def __init__(
        self,
        listing: Listing,
        spec: InputSpec,
        image: ImagePreprocessing,
        *,
        description: str,
        limit: int | None = None,
    ) -> None:
        chosen = spread(len(listing.files), limit, listing.labels)
        self._files = [listing.files[i] for i in chosen]
        self._labels = None if listing.labels is None else [listing.labels[i] for i in chosen]
        self._spec = spec
        self._image = image.for_input(spec)
        self._converted: dict[str, str] = {}
        self.description = description
        self.labelled = listing.labels is not None
        self.class_names = listing.class_names
        self.findings: list[Finding] = []

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(json.dumps(self._image.as_dict(), sort_keys=True).encode())
        digest.update(repr(self._spec).encode())
        for index, (name, path) in enumerate(self._files):
            label = None if self._labels is None else self._labels[index]
            try:
                digest.update(f"{name}\0{label}\0{sha256(path)}\n".encode())
            except OSError as error:
                raise DataError(
                    "cannot read this picture", where=str(path), why=error.strerror or str(error)
                ) from error
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[Sample]:
        for index, (name, path) in enumerate(self._files):
            picture, mode = read_picture(path)
            if mode not in ("RGB", "L" if self._image.color == "gray" else "RGB"):
                self._remark(name, mode)
            array = fit_array(self._image.apply(picture, self._spec.dtype), self._spec, str(path))
            label = None if self._labels is None else self._labels[index]
            yield Sample({self._spec.name: array}, label, name)

    def _remark(self, name: str, mode: str) -> None:
        if name in self._converted:
            return
        self._converted[name] = mode
        count, shown = len(self._converted), list(self._converted)[:_SHOWN_NAMES]
        modes = ", ".join(sorted(set(self._converted.values())))
        names = ", ".join(shown) + (", ..." if count > len(shown) else "")
        finding = Finding(
            _CONVERTED,
            "info",
            f"{count} of {len(self)} pictures of {self.description} were converted from "
            f"another colour mode ({modes}; L is grayscale): {names}",
        )
        self.findings[:] = [f for f in self.findings if f.rule != _CONVERTED] + [finding]
