"""One weight file for several programs, each constant in it once.

The file begins with a header of 64 bytes: the number of constants (uint32), the version of the
format, 2 (uint32), and zeros. A constant is a record of 64 bytes at a multiple of 64 (mark, element
type, size, where its numbers begin, unused bits, zeros; see `interpreter.weight_file`) and its
numbers behind it, filled up to a multiple of 64. Programs name a constant by the place of its
record (Apple's open-source `MILBlob`, as coremltools 9.0 writes it).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from edgewise.targets.apple.interpreter.weight_file import stored_values

_HEADER = struct.Struct("<II56x")
_VERSION = 2
#: mark, element type, size in bytes, begin of the numbers, unused bits of the last byte
_RECORD = struct.Struct("<IIQQQ32x")
_UNIT = 64


class SharedWeights:
    """Collects constants into a new weight file. Used as a context."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[tuple[int, int, bytes], int] = {}

    def __enter__(self) -> SharedWeights:
        self._file: BinaryIO = self._path.open("wb")
        self._file.write(bytes(_HEADER.size))
        return self

    def __exit__(self, *_: object) -> None:
        self._file.seek(0)
        self._file.write(_HEADER.pack(len(self._places), _VERSION))
        self._file.close()

    def take(self, blocks: Iterable[Any], weights: Path) -> None:
        """Copy what the blocks of a program refer to, and make them refer to the copy.

        Args:
            blocks: messages `Block`, changed in place.
            weights: the file that they refer to.
        """
        with weights.open("rb") as source:
            for block in blocks:
                for _, value in stored_values(block):
                    value.blobFileValue.offset = self._copy(source, value.blobFileValue.offset)

    def _copy(self, source: BinaryIO, place: int) -> int:
        source.seek(place)
        mark, kind, size, begin, unused = _RECORD.unpack(source.read(_RECORD.size))
        source.seek(begin)
        numbers = source.read(size)
        key = (kind, unused, hashlib.sha256(numbers).digest())
        if key not in self._places:
            self._places[key] = self._file.tell()
            begin = self._file.tell() + _RECORD.size
            self._file.write(_RECORD.pack(mark, kind, size, begin, unused))
            self._file.write(numbers + bytes(-len(numbers) % _UNIT))
        return self._places[key]
