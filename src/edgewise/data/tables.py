"""Files of texts, read row by row: `.csv`, `.tsv`, `.jsonl` and `.txt`.

1. `.csv` (commas) and `.tsv` (tabs): the first row names the columns, unless these are numbered
2. `.jsonl`: one JSON object a line
3. `.txt`: one text a line, in the column `text`
"""

from __future__ import annotations

import csv
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewise.data.preprocessing import TextColumns
from edgewise.errors import DataError

SUFFIXES = frozenset({".csv", ".jsonl", ".tsv", ".txt"})
#: what columns are called in common data sets, the pairs first
_TEXTS: Sequence[tuple[str, ...]] = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text1", "text2"),
    ("text",),
    ("sentence",),
)
_LABELS = ("label", "class", "score")
_PLAIN = "text"


#: its number, and its fields by name or number
_Line = tuple[int, Mapping[str | int, Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """The texts of one row, its label as it stands there, and the number of its line."""

    texts: tuple[str, ...]
    label: Any
    line: int


@dataclass(frozen=True, slots=True)
class TextTable:
    """A file and its columns; see `open_table`."""

    path: Path
    texts: tuple[str | int, ...]
    label: str | int | None
    #: rows whose column has that value; all where there is no column
    chosen: tuple[str, str] | None = None

    def rows(self) -> Iterator[Row]:
        """Reads the file anew. Raises DataError for a row without a text, or without its label."""
        for line, fields in _read(self.path, numbered=isinstance(self.texts[0], int)):
            if self.chosen is not None and str(fields.get(self.chosen[0])) != self.chosen[1]:
                continue
            texts = tuple(self._text(fields, column, line) for column in self.texts)
            label = None
            if self.label is not None:
                label = fields.get(self.label)
                if label is None or label == "":
                    raise self._missing("label", self.label, line)
            yield Row(texts, label, line)

    def _text(self, fields: Mapping[str | int, Any], column: str | int, line: int) -> str:
        text = fields.get(column)
        if not isinstance(text, str) or not text.strip():
            raise self._missing("text", column, line)
        return text

    def _missing(self, what: str, column: str | int, line: int) -> DataError:
        return DataError(
            f"there is no {what} in column '{column}'",
            where=f"{self.path}, line {line}",
            remedy="Give every row one.",
        )


def open_table(path: Path, columns: TextColumns, chosen: tuple[str, str] | None) -> TextTable:
    """Find the columns of a file.

    Raises:
        DataError: the file cannot be read, has no row, or lacks a column.
    """
    numbered = bool(columns.texts) and isinstance(columns.texts[0], int)
    with closing(_read(path, numbered=numbered)) as rows:
        first = next(rows, None)
    if first is None:
        raise DataError("there is no text in this file", where=str(path))
    known = first[1]
    texts = columns.texts or next(
        (names for names in _TEXTS if all(name in known for name in names)), ()
    )
    label = columns.label
    if label is None and not numbered:
        label = next((name for name in _LABELS if name in known and name not in texts), None)
    wanted = [*texts, *([] if label is None else [label]), *([] if chosen is None else chosen[:1])]
    missing = [column for column in wanted if column not in known]
    if missing or not texts:
        what = f"column '{missing[0]}'" if missing else "column of a usual name"
        raise DataError(
            f"there is no {what}",
            where=str(path),
            why=f"the columns are {', '.join(str(name) for name in known)}",
            remedy="Name it in [data.text] columns and label; numbers, as in columns = [1, 2], "
            "count from 1 in a file without a header.",
        )
    return TextTable(path, texts, label, chosen)


def _read(path: Path, *, numbered: bool) -> Generator[_Line, None, None]:
    """Line number and fields by name, or by number from 1. Raises DataError."""
    suffix = path.suffix.lower()
    read = _json_lines if suffix == ".jsonl" else _lines if suffix == ".txt" else _separated
    try:
        yield from read(path, numbered)
    except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise DataError(
            "cannot read the texts",
            where=str(path),
            why=getattr(error, "strerror", None) or str(error),
            remedy="Store the file in UTF-8.",
        ) from error


def _separated(path: Path, numbered: bool) -> Iterator[_Line]:
    tabs = path.suffix.lower() == ".tsv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        # tab-separated files rarely quote, and a lone quotation mark must not swallow lines
        reader = csv.reader(
            file,
            delimiter="\t" if tabs else ",",
            quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
        )
        header: list[str] | None = None
        for cells in reader:
            if not cells:
                continue
            if numbered:
                yield reader.line_num, dict(enumerate(cells, start=1))
            elif header is None:
                header = cells
            else:
                yield reader.line_num, dict(zip(header, cells, strict=False))


def _json_lines(path: Path, numbered: bool) -> Iterator[_Line]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            fields = json.loads(text)
            if not isinstance(fields, dict):
                raise DataError(
                    "this line is no JSON object",
                    where=f"{path}, line {line}",
                    remedy='Write one object a line, such as {"text": "...", "label": 0}.',
                )
            yield line, fields


def _lines(path: Path, numbered: bool) -> Iterator[_Line]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if text.strip():
                yield line, {_PLAIN: text.strip(), 1: text.strip()}
