"""The tables of an ORT file (`ort.fbs` of ONNX Runtime, file identifier `ORTM`).

A table is a list of fields in the order of their numbers; None is a deprecated one. A field is the
width in bytes of a number, `STRING`, a table's name, `Vector` of any of these, `Struct` of so many
bytes, or a `Union`: a number of one byte, and behind it the table that it chooses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

IDENTIFIER = b"ORTM"
ROOT = "InferenceSession"
STRING = "string"


@dataclass(frozen=True, slots=True)
class Struct:
    """Bytes in place, aligned to four."""

    size: int


@dataclass(frozen=True, slots=True)
class Vector:
    """`key` is a field of the element's table, by which elements are found and not by position."""

    element: int | str | Struct
    key: int | None = None


@dataclass(frozen=True, slots=True)
class Union:
    """Two field numbers: the choice, and the chosen table."""

    tables: tuple[str, ...]  # by number, from 1


Field: TypeAlias = int | str | Struct | Vector | Union | None

_STRINGS = Vector(STRING)
_EDGES = Vector(Struct(12))

TABLES: Mapping[str, Sequence[Field]] = {
    "InferenceSession": (STRING, "Model", None, "KernelTypeStrResolver"),
    "Model": (
        8, Vector("OperatorSetId", key=0), STRING, STRING, STRING, 8, STRING, "Graph", STRING,
        Vector("StringStringEntry", key=0),
    ),
    "OperatorSetId": (STRING, 8),
    "StringStringEntry": (STRING, STRING),
    "Graph": (
        Vector("Tensor", key=0), Vector("ValueInfo", key=0), Vector("Node"), 4, Vector("NodeEdge"),
        _STRINGS, _STRINGS, Vector("SparseTensor"), "RuntimeOptimizations",
    ),
    "Tensor": (STRING, STRING, Vector(8), 4, Vector(1), _STRINGS, 8),
    "SparseTensor": ("Tensor", "Tensor", Vector(8)),
    "ValueInfo": (STRING, STRING, "TypeInfo"),
    "TypeInfo": (STRING, Union(("TensorTypeAndShape", "SequenceType", "MapType"))),
    "TensorTypeAndShape": (4, "Shape"),
    "SequenceType": ("TypeInfo",),
    "MapType": (4, "TypeInfo"),
    "Shape": (Vector("Dimension"),),
    "Dimension": ("DimensionValue", STRING),
    "DimensionValue": (1, 8, STRING),
    "Node": (
        STRING, STRING, STRING, 4, 4, STRING, 4, STRING, _STRINGS, _STRINGS,
        Vector("Attribute", key=0), Vector(4), _STRINGS,
    ),
    "NodeEdge": (4, _EDGES, _EDGES),
    "Attribute": (
        STRING, STRING, 4, 4, 8, STRING, "Tensor", "Graph", Vector(4), Vector(8), _STRINGS,
        Vector("Tensor"), Vector("Graph"),
    ),
    "RuntimeOptimizations": (Vector("RuntimeOptimizationRecordContainerEntry", key=0),),
    "RuntimeOptimizationRecordContainerEntry": (STRING, Vector("RuntimeOptimizationRecord")),
    "RuntimeOptimizationRecord": (STRING, "NodesToOptimizeIndices", None, _STRINGS),
    "NodesToOptimizeIndices": (Vector(4), 4, 4, 1, 1, 4, 4),
    "KernelTypeStrResolver": (Vector("OpIdKernelTypeStrArgsEntry", key=0),),
    "OpIdKernelTypeStrArgsEntry": (STRING, Vector("KernelTypeStrArgsEntry", key=0)),
    "KernelTypeStrArgsEntry": (STRING, Vector("ArgTypeAndIndex")),
    "ArgTypeAndIndex": (1, 4),
}  # fmt: skip
