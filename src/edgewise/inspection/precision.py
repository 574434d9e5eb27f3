"""How each layer is stored, read off the dtypes around it.

A layer reads `a` bits where all that it reads was quantized to integers and all that it writes is
quantized again, behind the functions that runtimes fuse with it: `quantize` and `dequantize` only
mark that, and say it of float values. Files that store integers directly need no marks. So

| weights | activations | precision |
|---|---|---|
| the same floats, or none | float32, float16, bfloat16 | `fp32`, `fp16`, `bf16` |
| n bits | integers of m bits | `w<n>a<m>` |
| n bits of integers, float16, or a palette | wider floats | `w<n>`, `w16`, `palette<n>` |
| none | integers, of a type | the type: `int8` |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgewise.inspection.network import Network, Operation, bits_of

_FLOATS = {"float64": "fp64", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
#: integers that activations are quantized to
_NARROW = frozenset({"int4", "uint4", "int8", "uint8", "int16", "uint16"})


@dataclass(frozen=True, slots=True)
class Precision:
    name: str
    weight: str | None
    activation: str | None


@dataclass(frozen=True, slots=True)
class Forms:
    """Of a network: the precision of each operation by position, and the dtype in which a value is
    stored where a mark says that it is another one than its own."""

    precisions: tuple[Precision, ...]
    stored: Mapping[str, str]


def forms_of(network: Network) -> Forms:
    return _Reading(network).forms()


class _Reading:
    def __init__(self, network: Network) -> None:
        self._network = network
        self._producers = {name: op for op in network.operations for name in op.writes}
        self._readers: dict[str, list[Operation]] = {}
        for operation in network.operations:
            for name in operation.reads:
                self._readers.setdefault(name, []).append(operation)
        self._stored: dict[str, str] = {}

    def forms(self) -> Forms:
        found = tuple(self._precision(operation) for operation in self._network.operations)
        return Forms(found, self._stored)

    def _precision(self, operation: Operation) -> Precision:
        if operation.effect in ("quantize", "dequantize"):
            side = operation.writes if operation.effect == "quantize" else operation.reads
            dtype = self._dtype(side[0]) if side else None
            return Precision(dtype or "unknown", None, dtype)
        activation = self._integers_around(operation) or self._own(operation)
        weight = None if operation.weight is None else operation.weight.dtype
        return Precision(named(weight, activation), weight, activation)

    def _integers_around(self, operation: Operation) -> str | None:
        """The integers that stand for the floats that it reads and writes."""
        floats = [name for name in operation.reads if self._dtype(name) in _FLOATS]
        before = [self._integers_before(name) for name in floats]
        after = [self._integers_after(name) for name in operation.writes]
        if not before or not after or None in before or None in after:
            return None
        for name, dtype in zip(operation.writes, after, strict=True):
            self._stored[name] = str(dtype)
        return max((str(dtype) for dtype in before), key=lambda dtype: bits_of(dtype) or 0)

    def _integers_before(self, name: str) -> str | None:
        producer = self._producers.get(name)
        if producer is None:
            return None
        if producer.effect == "dequantize":
            return self._dtype(producer.reads[0]) if producer.reads else None
        return self._stored.get(name)  # between a layer and its quantize

    def _integers_after(self, name: str) -> str | None:
        """What quantizes the value, behind functions and other shapes of it alone."""
        found: set[str | None] = set()
        for reader in self._readers.get(name, []):
            if reader.effect == "quantize":
                found.add(self._dtype(reader.writes[0]))
            elif reader.effect in ("function", "view") and reader.reads == (name,):
                found |= {self._integers_after(written) for written in reader.writes}
            else:
                return None
        return None if name in self._network.outputs or len(found) != 1 else found.pop()

    def _own(self, operation: Operation) -> str | None:
        """The widest float that it reads, else the narrow integers, else what it writes: indices
        say nothing of how a table is stored."""
        read = [dtype for name in operation.reads if (dtype := self._dtype(name)) is not None]
        if floats := [dtype for dtype in read if dtype in _FLOATS]:
            return max(floats, key=lambda dtype: bits_of(dtype) or 0)
        if narrow := [dtype for dtype in read if dtype in _NARROW]:
            return narrow[0]
        return next((self._dtype(name) for name in operation.writes), None)

    def _dtype(self, name: str) -> str | None:
        value = self._network.values.get(name)
        return None if value is None else value.dtype


def named(weight: str | None, activation: str | None) -> str:
    """The field's name of a pair of storage types."""
    if weight is None:
        return "unknown" if activation is None else _FLOATS.get(activation, activation)
    if activation is None:
        return _of_weight(weight)
    if activation not in _FLOATS:
        return f"{_of_weight(weight)}a{bits_of(activation)}"
    as_wide = weight in _FLOATS and (bits_of(weight) or 0) >= (bits_of(activation) or 0)
    return _FLOATS[activation] if as_wide else _of_weight(weight)


def _of_weight(weight: str) -> str:
    """Palettes have their own name, and no width among the numbers."""
    bits = bits_of(weight)
    return weight if bits is None else f"w{bits}"
