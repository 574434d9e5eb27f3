"""Any model file as operators between values: what the readers of the formats give, and what all
figures are made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Literal

#: what an operator does with its memory and its precision:
#: `compute`     makes new tensors
#: `view`        gives another shape to the bytes of its first input
#: `pointwise`   computes element by element, and may overwrite an input of the same size
#: `function`    is pointwise with one input, and fused by runtimes with what makes it
#: `quantize`    says that a float value is stored in integers
#: `dequantize`  says that integers stand for floats
Effect = Literal["compute", "view", "pointwise", "function", "quantize", "dequantize"]

_BITS = {
    "bool": 8, "bfloat16": 16, "complex64": 64, "complex128": 128, "float16": 16, "float32": 32,
    "float64": 64, "float8_e4m3fn": 8, "float8_e4m3fnuz": 8, "float8_e5m2": 8,
    "float8_e5m2fnuz": 8, "int2": 2, "int4": 4, "int8": 8, "int16": 16, "int32": 32, "int64": 64,
    "uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6, "uint8": 8, "uint16": 16,
    "uint32": 32, "uint64": 64, "float4_e2m1fn": 4,
}  # fmt: skip


def bits_of(dtype: str) -> int | None:
    """The width of one element; None for text and other things without one."""
    return _BITS.get(dtype)


def bytes_of(elements: int, dtype: str) -> int | None:
    """What so many elements take, packed."""
    bits = bits_of(dtype)
    return None if bits is None else -(-elements * bits // 8)


@dataclass(frozen=True, slots=True)
class Value:
    """A computed tensor; `shape` is None where it is not known, free dimensions are 1."""

    name: str
    shape: tuple[int, ...] | None
    dtype: str

    @property
    def bytes(self) -> int | None:
        return None if self.shape is None else bytes_of(prod(self.shape), self.dtype)


@dataclass(frozen=True, slots=True)
class Stored:
    """A constant that is a parameter, as it is stored: `dtype` is a number's, or `palette4`."""

    name: str
    elements: int
    dtype: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Operation:
    """One operator. `reads` are computed values only; `weight` is the parameter that its precision
    is told by; `macs` is None where they are unknown, for `unknown`'s reason. `runs` is how often
    the bodies run, None where data decide; of `alternatives` only one does."""

    name: str
    kind: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    parameters: tuple[Stored, ...] = ()
    weight: Stored | None = None
    macs: int | None = 0
    unknown: str = ""
    effect: Effect = "compute"
    bodies: tuple[Network, ...] = ()
    runs: int | None = 1
    alternatives: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    """`operations` in the order of execution; `values` holds those that it makes or is given."""

    operations: tuple[Operation, ...]
    values: Mapping[str, Value]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    free_dimensions: tuple[str, ...] = field(default=())

    def all_operations(self) -> Iterator[Operation]:
        """Those of bodies, too, behind the one that runs them."""
        for operation in self.operations:
            yield operation
            for body in operation.bodies:
                yield from body.all_operations()
