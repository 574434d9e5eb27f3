"""TFLite Metadata: what a file tells of its pictures and of its classes.

The metadata is a FlatBuffer of its own (identifier `M001`, `metadata_schema.fbs`), kept in the
model as the buffer named `TFLITE_METADATA`; files that go with it, such as labels, are in a ZIP
archive behind the model. Read of it:
1. of the first input: colour space and normalization, `(pixel - mean) / std` of pixels from 0 to
   255; for a quantized input these give the real values that its integers stand for;
2. of the first output that has some: the labels, one a line.
Numbers below are the fields of the schema. Whatever is absent or malformed is not told.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
from flatbuffers import number_types
from flatbuffers.table import Table as FlatTable

from edgewise.data.image import Color, ImagePreprocessing
from edgewise.errors import UsageError
from edgewise.exporters.tflite.file import Table, data, text

_NAME = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
_NORMALIZATION, _IMAGE, _AXIS_LABELS = 1, 2, 2
_COLORS: dict[int, Color] = {1: "rgb", 2: "gray"}


@dataclass(frozen=True, slots=True)
class Told:
    """None and empty where the file says nothing."""

    preprocessing: ImagePreprocessing | None = None
    labels: tuple[str, ...] = ()


def read_metadata(model: Table, path: Path) -> Told:
    """What the file's metadata says."""
    content = _buffer(model)
    if content is None or content[4:8] != _IDENTIFIER:
        return Told()
    try:
        root = _Reader.root(content)
        graph = next(root.tables(3), None)
        if graph is None:
            return Told()
        inputs, outputs = list(graph.tables(2)), list(graph.tables(3))
        return Told(
            _preprocessing(inputs[0]) if inputs else None,
            next((labels for output in outputs if (labels := _labels(output, path))), ()),
        )
    except (struct.error, IndexError, TypeError, ValueError, UsageError):
        return Told()


def _buffer(model: Table) -> bytes | None:
    for entry in model.metadata or []:
        if text(entry.name) == _NAME:
            found = data(model, entry)
            return None if found is None else found.tobytes()
    return None


def _preprocessing(tensor: _Reader) -> ImagePreprocessing | None:
    content = tensor.table(3)
    if content is None or content.byte(0) != _IMAGE:
        return None
    image = content.table(1)
    color = _COLORS.get(0 if image is None else image.byte(0))
    if color is None:
        return None
    for unit in tensor.tables(4):
        options = unit.table(1)
        if unit.byte(0) == _NORMALIZATION and options is not None:
            mean, std = options.floats(0), options.floats(1)
            return ImagePreprocessing(color=color, mean=mean, std=std)
    return ImagePreprocessing(color=color)


def _labels(tensor: _Reader, path: Path) -> tuple[str, ...]:
    for file in tensor.tables(6):
        if file.byte(2) != _AXIS_LABELS:
            continue
        try:
            with zipfile.ZipFile(path) as archive:
                lines = archive.read(file.text(0)).decode().splitlines()
        except (zipfile.BadZipFile, KeyError, UnicodeDecodeError):
            return ()
        return tuple(line.strip() for line in lines)
    return ()


class _Reader:
    """A table of a FlatBuffer whose generated code is not at hand, by field number."""

    def __init__(self, content: bytes, position: int) -> None:
        self._content, self._table = content, FlatTable(content, position)

    @classmethod
    def root(cls, content: bytes) -> _Reader:
        return cls(content, flatbuffers.encode.Get(flatbuffers.packer.uoffset, content, 0))

    def _place(self, field: int) -> int:
        offset = self._table.Offset(4 + 2 * field)
        return offset + self._table.Pos if offset else 0

    def byte(self, field: int) -> int:
        place = self._place(field)
        return int(self._table.Get(number_types.Uint8Flags, place)) if place else 0

    def text(self, field: int) -> str:
        place = self._place(field)
        return bytes(self._table.String(place)).decode() if place else ""

    def table(self, field: int) -> _Reader | None:
        place = self._place(field)
        return _Reader(self._content, self._table.Indirect(place)) if place else None

    def tables(self, field: int) -> Iterator[_Reader]:
        for element in self._elements(field, 4):
            yield _Reader(self._content, self._table.Indirect(element))

    def floats(self, field: int) -> tuple[float, ...]:
        places: Any = self._elements(field, 4)
        return tuple(float(self._table.Get(number_types.Float32Flags, p)) for p in places)

    def _elements(self, field: int, size: int) -> Iterator[int]:
        offset = self._table.Offset(4 + 2 * field)
        if offset:
            start = self._table.Vector(offset)
            yield from (start + size * i for i in range(self._table.VectorLen(offset)))
