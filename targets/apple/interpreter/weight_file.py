"""`weight.bin`, checked before coremltools' native reader trusts it.

The file begins with 64 bytes; each weight is a record of 64 bytes at a multiple of 64 and, anywhere
behind, its numbers. A record is, in little endian,

| bytes | content |
|---|---|
| 0-3 | the mark 0xDEADBEEF |
| 4-7 | code of the element type |
| 8-15 | size of the numbers in bytes |
| 16-23 | where the numbers begin in the file |

A constant of the program names the file and where the record is (Apple's open-source `MILBlob`).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewise.targets.apple._coremltools import ct

_RECORD = struct.Struct("<IIQQ")
_MARK = 0xDEADBEEF
#: element type of the program -> code in the record, bits per number
_TYPES = {
    "FLOAT16": (1, 16),
    "FLOAT32": (2, 32),
    "UINT8": (3, 8),
    "INT8": (4, 8),
    "INT16": (6, 16),
    "UINT16": (7, 16),
    "INT4": (8, 4),
    "UINT1": (9, 1),
    "UINT2": (10, 2),
    "UINT4": (11, 4),
    "UINT3": (12, 3),
    "UINT6": (13, 6),
    "INT32": (14, 32),
    "UINT32": (15, 32),
}


@dataclass(frozen=True, slots=True)
class Reference:
    """A constant whose numbers stand in a file."""

    name: str
    file_name: str
    offset: int
    dtype: str
    elements: int


def fault(block: Any, weights: Path) -> str | None:
    """What is wrong with a weight that a block of the program refers to, None when nothing is.

    Args:
        block: message `Block`, nested blocks included.
        weights: the folder of weight files.
    """
    sizes: dict[str, int] = {}
    for reference in references(block):
        path = weights / reference.file_name
        if reference.file_name not in sizes:
            if not path.is_file():
                return f"{path.name} is missing"
            sizes[reference.file_name] = path.stat().st_size
        why = _record_fault(reference, path, sizes[reference.file_name])
        if why is not None:
            return f"{path.name}: weight '{reference.name}' {why}"
    return None


def references(block: Any) -> Iterator[Reference]:
    return (_reference(name, value) for name, value in stored_values(block))


def stored_values(block: Any) -> Iterator[tuple[str, Any]]:
    """Each message `Value` of a block that stands in a file, with the name of what it makes."""
    for operation in block.operations:
        for inner in operation.blocks:
            yield from stored_values(inner)
        name = next((output.name for output in operation.outputs), operation.type)
        bindings = (one for given in operation.inputs.values() for one in given.arguments)
        literal = (one.value for one in bindings if one.WhichOneof("binding") == "value")
        for value in (*operation.attributes.values(), *literal):
            if value.WhichOneof("value") == "blobFileValue":
                yield name, value


def _reference(name: str, value: Any) -> Reference:
    tensor, types = value.type.tensorType, ct.proto.MIL_pb2.DataType
    known = tensor.dataType in types.values()  # a damaged file may have any number there
    blob = value.blobFileValue
    return Reference(
        name=name,
        file_name=blob.fileName.split("/")[-1],  # as coremltools finds it
        offset=blob.offset,
        dtype=types.Name(tensor.dataType) if known else f"number {tensor.dataType}",
        elements=math.prod(dimension.constant.size for dimension in tensor.dimensions),
    )


def _record_fault(reference: Reference, path: Path, size: int) -> str | None:
    if reference.dtype not in _TYPES:
        return f"is of type {reference.dtype}, which the file has not"
    code, bits = _TYPES[reference.dtype]
    if reference.offset + _RECORD.size > size:
        return "lies behind the end of the file"
    with path.open("rb") as file:
        file.seek(reference.offset)
        mark, stored_code, stored_size, begin = _RECORD.unpack(file.read(_RECORD.size))
    if mark != _MARK:
        return "has no record where the program says"
    if stored_code != code:
        return f"is not {reference.dtype} in the file"
    if stored_size != -(-reference.elements * bits // 8):
        return "has another size in the file than in the program"
    return "reaches behind the end of the file" if begin + stored_size > size else None
