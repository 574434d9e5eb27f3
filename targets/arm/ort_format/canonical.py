"""An ORT file read and written again, so that the same model gives the same bytes.

ONNX Runtime walks hash tables as it writes, whose order changes from process to process: two files
of one model hold the same tables at other places. Here the tables that are found by a key are put
in its order, everything is written in one order, and weights start at multiples of 16 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flatbuffers

from edgewise.errors import InternalError
from edgewise.targets.arm.ort_format.schema import (
    IDENTIFIER,
    ROOT,
    STRING,
    TABLES,
    Field,
    Struct,
    Union,
    Vector,
)

_WEIGHTS_ALIGNMENT = 16
#: a table as read: values by field number; of a union, its table stands at the second number
Table = dict[int, Any]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A table of a union, with the name that its number stands for."""

    name: str
    table: Table


def canonical(content: bytes) -> bytes:
    """The same model in the one order. Raises InternalError where the format is a newer one."""
    return write(read(content))


def read(content: bytes) -> Table:
    """The file as nested tables. Raises InternalError for fields that are not known."""
    if content[4:8] != IDENTIFIER:
        raise InternalError("ONNX Runtime wrote no ORT file", why=f"it starts with {content[:8]!r}")
    return _Reader(content).table(ROOT, _offset(content, 0))


def write(root: Table) -> bytes:
    """The bytes of nested tables."""
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(_Writer(builder).table(ROOT, root), IDENTIFIER)
    return bytes(builder.Output())


def _offset(content: bytes, place: int) -> int:
    return place + int(struct.unpack_from("<I", content, place)[0])


class _Reader:
    """Layout: a table begins with the way back to its vtable, which has the size of itself, the
    size of the table, and the place of each field in it, or 0."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def table(self, name: str, place: int) -> Table:
        vtable = place - struct.unpack_from("<i", self._content, place)[0]
        size = struct.unpack_from("<H", self._content, vtable)[0]
        places = [
            place + inside if inside else None
            for (inside,) in struct.iter_unpack("<H", self._content[vtable + 4 : vtable + size])
        ]
        found: Table = {}
        number = 0
        for field in TABLES[name]:
            wide = 2 if isinstance(field, Union) else 1
            at = (places[number : number + wide] + [None] * wide)[:wide]
            if isinstance(field, Union):
                if at[0] is not None and at[1] is not None:
                    chosen = field.tables[self._content[at[0]] - 1]
                    found[number + 1] = Chosen(chosen, self.table(chosen, self._behind(at[1])))
            elif field is not None and at[0] is not None:
                found[number] = self._value(field, at[0])
            number += wide
        if any(places[number:]):
            raise InternalError(
                f"a table '{name}' of this ORT file has fields that are not known",
                why="this version of onnxruntime writes a newer format",
                remedy="Leave out ort_format, and convert with onnxruntime's own tool.",
            )
        return found

    def _behind(self, place: int) -> int:
        return _offset(self._content, place)

    def _value(self, field: Field, place: int) -> Any:
        if isinstance(field, int):
            return self._content[place : place + field]
        if isinstance(field, Struct):
            return self._content[place : place + field.size]
        behind = self._behind(place)
        if isinstance(field, Vector):
            return self._vector(field, behind)
        if field == STRING:
            return self._string(behind)
        return self.table(str(field), behind)

    def _vector(self, field: Vector, place: int) -> Any:
        count = struct.unpack_from("<I", self._content, place)[0]
        first, element = place + 4, field.element
        if isinstance(element, int | Struct):
            width = element if isinstance(element, int) else element.size
            return self._content[first : first + count * width]
        return [self._value(element, first + 4 * index) for index in range(count)]

    def _string(self, place: int) -> str:
        size = struct.unpack_from("<I", self._content, place)[0]
        return self._content[place + 4 : place + 4 + size].decode()


class _Writer:
    """What a table points to is written before it; equal strings are written once."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def table(self, name: str, table: Table) -> int:
        fields = _numbered(TABLES[name])
        ready: dict[int, Any] = {}
        for number, value in sorted(table.items()):
            ready[number] = self._ready(fields[number], value)
        builder = self._builder
        builder.StartObject(max(fields, default=-1) + 1)
        for number in sorted(ready, key=lambda n: (-_width(fields[n]), n)):
            field, value = fields[number], ready[number]
            if isinstance(field, Union):
                tag = field.tables.index(table[number].name) + 1
                builder.PrependUint8Slot(number - 1, tag, 0)
                builder.PrependUOffsetTRelativeSlot(number, value, 0)
            elif isinstance(field, int):
                _PREPEND[field](builder, value)
                builder.Slot(number)
            else:
                builder.PrependUOffsetTRelativeSlot(number, value, 0)
        return int(builder.EndObject())

    def _ready(self, field: Field, value: Any) -> Any:
        """A number as it is; of anything else, where it was written."""
        if isinstance(field, int):
            return value
        if isinstance(field, Union):
            return self.table(value.name, value.table)
        if isinstance(field, Vector):
            return self._vector(field, value)
        if field == STRING:
            return self._builder.CreateSharedString(value)
        return self.table(str(field), value)

    def _vector(self, field: Vector, value: Any) -> int:
        element = field.element
        if isinstance(element, int | Struct):
            width = element if isinstance(element, int) else element.size
            alignment = min(width, 4) if isinstance(element, Struct) else width
            return self._bytes(value, width, _WEIGHTS_ALIGNMENT if width == 1 else alignment)
        if field.key is not None:
            key = field.key
            value = sorted(value, key=lambda entry: entry.get(key, ""))
        places = [self._ready(element, entry) for entry in value]
        self._builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            self._builder.PrependUOffsetTRelative(place)
        return int(self._builder.EndVector())

    def _bytes(self, content: bytes, width: int, alignment: int) -> int:
        builder = self._builder
        builder.StartVector(width, len(content) // width, alignment)
        end = int(builder.Head())
        builder.head = end - len(content)
        builder.Bytes[builder.head : end] = content
        builder.vectorNumElems = len(content) // width
        return int(builder.EndVector())


def _numbered(fields: Any) -> Mapping[int, Field]:
    """Fields by number; a union has that of its table, one behind that of its choice."""
    numbered: dict[int, Field] = {}
    number = 0
    for field in fields:
        number += isinstance(field, Union)
        numbered[number] = field
        number += 1
    return numbered


def _width(field: Field) -> int:
    return field if isinstance(field, int) else 4


def _prepend(width: int) -> Any:
    def prepend(builder: Any, value: bytes) -> None:
        builder.Prep(width, 0)
        builder.head = int(builder.Head()) - width
        builder.Bytes[builder.head : builder.head + width] = value

    return prepend


_PREPEND = {width: _prepend(width) for width in (1, 2, 4, 8)}
