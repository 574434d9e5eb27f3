"""Activation memory by liveness: the bytes that are alive at once, in the order of the file.

1. A tensor is alive from the operator that makes it to the last one that reads it; an input from
   the start to its last reader, an output to the end. Weights and other constants do not count.
2. A view (Reshape, Squeeze, Flatten and the like) shares the bytes of what it shows.
3. A pointwise operator writes over an input of its own size that nothing reads afterwards, but
   never over an input of the model, which is the caller's.
4. What a quantized model marks as integers counts as integers: the marks themselves take nothing.
   A dequantize that a float operator reads makes floats.
5. A body (Loop, If, WHILE) adds its own peak while it runs; of branches the larger one.

What runtimes add is not counted: scratch memory of kernels (im2col), alignment and gaps. What they
save by another order of execution is not counted either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from edgewise.inspection.network import Network, Operation, bytes_of
from edgewise.inspection.precision import Forms, forms_of


@dataclass(frozen=True, slots=True)
class Liveness:
    """`live` per operator, None where a size is unknown; `peak` of them, and where it is reached;
    `unknown` is the first tensor without a size."""

    live: tuple[int | None, ...]
    peak: int | None
    at: str | None
    unknown: str | None


def liveness(network: Network, forms: Forms) -> Liveness:
    """The bytes that are alive while each operator of a network runs."""
    walk = _Walk(network, forms)
    live: list[int | None] = [walk.step(i, op) for i, op in enumerate(network.operations)]
    if walk.unknown is not None:
        return Liveness(tuple(live), None, None, walk.unknown)
    peak = walk.inputs
    at = None
    for operation, count in zip(network.operations, live, strict=True):
        if count is not None and count > peak:
            peak, at = count, operation.name
    return Liveness(tuple(live), peak, at, None)


@dataclass(slots=True)
class _Buffer:
    """Bytes that one value or several share."""

    bytes: int
    owned: bool = True  # by the model, and not by its caller
    names: list[str] = field(default_factory=list)


class _Walk:
    def __init__(self, network: Network, forms: Forms) -> None:
        self._network = network
        self._forms = forms
        self.unknown: str | None = None
        self._last = _last_uses(network)
        self._floats_wanted = set(network.outputs).union(
            *(
                operation.reads
                for operation in network.operations
                if not any(name in forms.stored for name in operation.writes)
            )
        )
        self._buffers: dict[str, _Buffer] = {}
        self._alive: list[_Buffer] = []
        for name in network.inputs:
            self._allocate(name, owned=False)
        self.inputs = sum(buffer.bytes for buffer in self._alive)

    def step(self, index: int, operation: Operation) -> int | None:
        """The bytes that are alive while the operator runs; then what is done with goes."""
        for number, name in enumerate(operation.writes):
            buffer = self._shared(index, operation, name) if number == 0 else None
            if buffer is None:
                self._allocate(name)
            else:
                buffer.names.append(name)
                self._buffers[name] = buffer
        live = sum(buffer.bytes for buffer in self._alive) + self._of_bodies(operation.bodies)
        self._alive = [buffer for buffer in self._alive if self._end(buffer) > index]
        return None if self.unknown is not None else live

    def _shared(self, index: int, operation: Operation, name: str) -> _Buffer | None:
        """The buffer of an input that the operator's result stays in, if there is one."""
        held = [self._buffers[read] for read in operation.reads if read in self._buffers]
        if not held:
            return None
        if operation.effect == "view" or self._is_mark(operation):
            return held[0]
        if operation.effect in ("pointwise", "function"):
            size = self._bytes(name)
            for buffer in held:
                if buffer.owned and buffer.bytes == size and self._end(buffer) == index:
                    return buffer
        return None

    def _is_mark(self, operation: Operation) -> bool:
        """Whether a quantize or dequantize only says how something is stored."""
        if operation.effect == "quantize":
            return all(name in self._forms.stored for name in operation.reads)
        wanted = self._floats_wanted.intersection(operation.writes)
        return operation.effect == "dequantize" and not wanted

    def _allocate(self, name: str, *, owned: bool = True) -> None:
        size = self._bytes(name)
        if size is None:
            self.unknown = self.unknown or name
        buffer = _Buffer(size or 0, owned, [name])
        self._buffers[name] = buffer
        self._alive.append(buffer)

    def _bytes(self, name: str) -> int | None:
        value = self._network.values.get(name)
        if value is None:
            return None
        stored = self._forms.stored.get(name)
        if stored is None or value.shape is None:
            return value.bytes
        return bytes_of(prod(value.shape), stored)

    def _end(self, buffer: _Buffer) -> int:
        return max(self._last.get(name, -1) for name in buffer.names)

    def _of_bodies(self, bodies: Sequence[Network]) -> int:
        peaks = []
        for body in bodies:
            inner = liveness(body, forms_of(body))
            if inner.unknown is not None:
                self.unknown = self.unknown or inner.unknown
            peaks.append(inner.peak or 0)
        return max(peaks, default=0)


def _last_uses(network: Network) -> dict[str, int]:
    """Per value the position of its last reader; outputs are read behind the end."""
    last: dict[str, int] = {}
    for index, operation in enumerate(network.operations):
        for name in operation.reads:
            last[name] = index
    last.update(dict.fromkeys(network.outputs, len(network.operations)))
    return last
