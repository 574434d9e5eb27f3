"""What an ELF file says of itself: its machine, and the libraries it is linked with.

Only 64-bit little-endian files; layouts are those of the System V ABI (`elf.h`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

AARCH64 = 183  # EM_AARCH64
_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3  # PT_LOAD, PT_DYNAMIC, PT_INTERP
_END, _NEEDED, _STRINGS = 0, 1, 5  # DT_NULL, DT_NEEDED, DT_STRTAB


@dataclass(frozen=True, slots=True)
class Elf:
    """`is_static` is True where no loader is named."""

    machine: int
    needed: tuple[str, ...]
    is_static: bool


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def read_elf(path: Path) -> Elf | None:
    """None for what is no such ELF file. Raises OSError, ValueError where it is damaged."""
    with path.open("rb") as file:
        if file.read(6) != b"\x7fELF\x02\x01":
            return None
    content = path.read_bytes()
    try:
        machine = struct.unpack_from("<H", content, 18)[0]
        segments = _segments(content)
        return Elf(
            machine, _needed(content, segments), all(s.kind != _INTERPRETER for s in segments)
        )
    except (struct.error, IndexError) as error:
        raise ValueError(f"{path} is cut off") from error


def _segments(content: bytes) -> list[_Segment]:
    (start,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    found = []
    for index in range(count):
        kind, _, offset, address, _, length = struct.unpack_from(
            "<IIQQQQ", content, start + index * size
        )
        found.append(_Segment(kind, offset, address, length))
    return found


def _needed(content: bytes, segments: list[_Segment]) -> tuple[str, ...]:
    names: list[int] = []
    strings = 0
    for segment in segments:
        if segment.kind != _DYNAMIC:
            continue
        for at in range(segment.offset, segment.offset + segment.size, 16):
            tag, value = struct.unpack_from("<qQ", content, at)
            if tag == _END:
                break
            if tag == _NEEDED:
                names.append(value)
            elif tag == _STRINGS:
                strings = _offset(value, segments)
    return tuple(_string(content, strings + name) for name in names)


def _offset(address: int, segments: list[_Segment]) -> int:
    """Where in the file lies what is loaded at an address."""
    for segment in segments:
        if segment.kind == _LOAD and segment.address <= address < segment.address + segment.size:
            return address - segment.address + segment.offset
    raise IndexError(address)


def _string(content: bytes, start: int) -> str:
    return content[start : content.index(0, start)].decode()
