"""The smallest ARM64 program: a header, and instructions that need no library.

Layout (System V ABI, `elf.h`): the 64 bytes of the ELF header, the 56 of the one segment, which is
the whole file, and the instructions, the first of which is the entry.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

_BASE = 0x400000
_HEADERS = 64 + 56
_EXECUTABLE, _AARCH64, _LOAD, _READ_AND_EXECUTE, _PAGE = 2, 183, 1, 5, 0x1000

SVC = 0xD4000001  # svc #0: the system call whose number is in w8
NOP = 0xD503201F
#: close(-7700): the syscall's number stays in w8
BEGIN = (0x52800728, 0x9283C260, SVC)  # mov w8, #57; mov x0, #-7700; svc #0
END = (0x9283C280, SVC)  # mov x0, #-7701; svc #0
EXIT = (0x52800BA8, 0xD2800000, SVC)  # mov w8, #93; mov x0, #0; svc #0


def program(instructions: Sequence[int]) -> bytes:
    """An executable of these words."""
    size = _HEADERS + 4 * len(instructions)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",  # 64 bits, little-endian, version 1
        *(_EXECUTABLE, _AARCH64, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 64, 0, 0),
    )
    segment = struct.pack("<IIQQQQQQ", _LOAD, _READ_AND_EXECUTE, 0, _BASE, _BASE, size, size, _PAGE)
    return header + segment + struct.pack(f"<{len(instructions)}I", *instructions)
