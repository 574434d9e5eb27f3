"""The same step along an axis of time: written out, or a Loop whose body holds several steps.

A step reads the states and one slice of each scanned value (its axis 0 kept, with size 1) and gives
new states and one slice of each output. Step `s` sees position `s` of a scanned value, or the
position `s` before the end of a reversed one; outputs likewise.

1. few steps       all are written out: nothing is faster
2. many steps      a Loop whose iteration does `k` steps, and the rest written out behind it
3. no Loop allowed all are written out

How many steps are few, and `k`, follow from what a runtime does with a matrix product: it keeps a
packed copy of the weights for each one it finds in the file. 128 steps of an LSTM with 256 units,
written out, take 130 MB and miss every cache (8.7 ms in LiteRT, one thread), a Loop of single steps
takes 3.1 ms, of 4 steps 2.2 ms, of 32 steps 5.8 ms. With 64 units, where copies are small, an
iteration's own cost decides: 1024 steps take 12.1 ms one by one, 2.2 ms by 32, 6.9 ms written out;
but 100 steps 0.17 ms written out and 0.25 ms by 10. A loop in a loop, to copy less from one
iteration to the next, gains nothing. UNIDIRECTIONAL_SEQUENCE_LSTM, one operator of TFLite for all
steps, takes 3.9 ms for 100 steps of 256 units (2.3 ms by 10) and 11 ms for 1000 of 128 (7.6 ms by
10); it also keeps its state from one run of the file to the next, where ONNX starts anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgewise.graph.expand.expansion import Expansion

#: written out in one piece: at most so many nodes, and bytes of weights read by them
_FEW_NODES, _FEW_BYTES = 2048, 8 << 20
#: one iteration of a loop: at most so many steps, nodes, and bytes of weights
_CHUNK_STEPS, _CHUNK_NODES, _CHUNK_BYTES = 32, 512, 4 << 20


@dataclass(frozen=True, slots=True)
class Typed:
    """A value with its type: what has just been written has none yet."""

    value: ir.Value
    dtype: ir.DataType
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scanned:
    """What each step reads a slice of: axis 0 is time."""

    source: Typed
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Produced:
    """What each step gives a slice of: `dims` are those behind the axis of time."""

    dtype: ir.DataType
    dims: tuple[int, ...]
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one step: nodes, and bytes of constants that they read."""

    nodes: int
    weight_bytes: int


def are_few(steps: int, cost: Cost) -> bool:
    """Whether so many steps are best written out."""
    return steps * cost.nodes <= _FEW_NODES and steps * cost.weight_bytes <= _FEW_BYTES


#: states and slices to new states and slices of the outputs
Step = Callable[
    [Expansion, Sequence[ir.Value], Sequence[ir.Value]],
    tuple[Sequence[ir.Value], Sequence[ir.Value]],
]


@dataclass(frozen=True, slots=True)
class Steps:
    """`length` steps; `run` writes them and gives the last states and the whole outputs."""

    length: int
    step: Step
    states: Sequence[Typed]
    scanned: Sequence[Scanned]
    produced: Sequence[Produced]
    cost: Cost

    def run(self, e: Expansion) -> tuple[list[ir.Value], list[ir.Value]]:
        """Cases 1 to 3. There is at least one step."""
        whole = are_few(self.length, self.cost) or not e.loops
        count = self.length if whole else self._chunk()
        iterations = self.length // count
        states = [state.value for state in self.states]
        looped: list[ir.Value] = []
        done = 0
        if iterations > 1:
            states, looped = self._loop(e, states, iterations, count)
            done = iterations * count
        if done == self.length:
            return states, looped
        states, tail = self._write_out(e, states, done)
        if not looped:
            return states, tail
        joined = []
        for index, produced in enumerate(self.produced):
            parts = [looped[index], tail[index]]
            joined.append(e.op("Concat", *_ordered(parts, produced.reverse), axis=0))
        return states, joined

    def _chunk(self) -> int:
        """Steps of one iteration, at least one, and not all of them: rather fewer than many of
        them left over."""
        by_nodes = _CHUNK_NODES // max(self.cost.nodes, 1)
        by_bytes = _CHUNK_BYTES // max(self.cost.weight_bytes, 1)
        most = max(min(_CHUNK_STEPS, by_nodes, by_bytes, self.length // 2), 1)
        return min(range(most, most - most // 4 - 1, -1), key=lambda count: self.length % count)

    def _write_out(
        self, e: Expansion, states: Sequence[ir.Value], start: int
    ) -> tuple[list[ir.Value], list[ir.Value]]:
        """The steps from `start` on."""
        parts = []
        for scanned in self.scanned:
            first = 0 if scanned.reverse else start
            parts.append(_range(e, scanned.source.value, first, self.length - start, self.length))
        return self._several(e, states, parts, self.length - start)

    def _several(
        self, e: Expansion, states: Sequence[ir.Value], parts: Sequence[ir.Value], count: int
    ) -> tuple[list[ir.Value], list[ir.Value]]:
        """`count` steps over parts of the scanned values of that length."""
        columns = [_ordered(_pieces(e, part, count), scanned.reverse)
                   for part, scanned in zip(parts, self.scanned, strict=True)]  # fmt: skip
        states = list(states)
        rows: list[Sequence[ir.Value]] = []
        for position in range(count):
            states, row = self.step(e, states, [column[position] for column in columns])
            rows.append(row)
        results = []
        for index, produced in enumerate(self.produced):
            slices = _ordered([row[index] for row in rows], produced.reverse)
            results.append(e.op("Concat", *slices, axis=0) if count > 1 else slices[0])
        return list(states), results

    def _loop(
        self, e: Expansion, states: Sequence[ir.Value], iterations: int, count: int
    ) -> tuple[list[ir.Value], list[ir.Value]]:
        """The first `iterations * count` steps."""
        done = iterations * count
        chunked = []
        for scanned in self.scanned:
            first = self.length - done if scanned.reverse else 0
            part = _range(e, scanned.source.value, first, done, self.length)
            chunked.append(e.reshape(part, (iterations, count, *scanned.source.dims[1:])))
        body = self._body(e.inner(f"loop_{len(e.nodes)}"), chunked, iterations, count)
        results = e.op(
            "Loop",
            e.ints(iterations),
            None,
            *states,
            outputs=len(states) + len(self.produced),
            body=body,
        )
        results = (results,) if isinstance(results, ir.Value) else results
        e.keep(results[0])
        stacked = []
        for value, produced in zip(results[len(states) :], self.produced, strict=True):
            if produced.reverse:
                value = _backwards(e, value)
            stacked.append(e.reshape(value, (done, *produced.dims)))
        return list(results[: len(states)]), stacked

    def _body(
        self, inner: Expansion, chunked: Sequence[ir.Value], iterations: int, count: int
    ) -> ir.Graph:
        """One iteration; it reads the chunks of the scanned values from the graph around it."""
        number = inner.parameter("number", ir.DataType.INT64, ())
        goes_on = inner.parameter("goes_on", ir.DataType.BOOL, ())
        states = [
            inner.parameter(f"state_{index}", state.dtype, state.dims)
            for index, state in enumerate(self.states)
        ]
        backwards = None
        if any(scanned.reverse for scanned in self.scanned):
            backwards = inner.op("Sub", inner.ints(iterations - 1), number)
        parts = [
            inner.op("Gather", chunk, backwards if scanned.reverse else number, axis=0)
            for chunk, scanned in zip(chunked, self.scanned, strict=True)
        ]
        new_states, results = self._several(inner, states, parts, count)
        return inner.body(
            [number, goes_on, *states],
            [
                (goes_on, ir.DataType.BOOL, ()),
                *(
                    (value, state.dtype, state.dims)
                    for value, state in zip(new_states, self.states, strict=True)
                ),
                *(
                    (value, produced.dtype, (count, *produced.dims))
                    for value, produced in zip(results, self.produced, strict=True)
                ),
            ],
        )


def _ordered(values: Sequence[ir.Value], reverse: bool) -> list[ir.Value]:
    return list(values)[::-1] if reverse else list(values)


def _pieces(e: Expansion, value: ir.Value, count: int) -> list[ir.Value]:
    """Slices of length 1 along axis 0."""
    if count == 1:
        return [value]
    return list(e.op("Split", value, outputs=count, axis=0, num_outputs=count))


def _range(e: Expansion, value: ir.Value, start: int, count: int, length: int) -> ir.Value:
    """`count` positions along axis 0, which is `length` long."""
    if count == length:
        return value
    piece: ir.Value = e.op("Slice", value, e.ints([start]), e.ints([start + count]), e.ints([0]))
    return piece


def _backwards(e: Expansion, value: ir.Value) -> ir.Value:
    """Axis 0 read from its end."""
    bounds = e.ints([-1]), e.ints([-(2**62)]), e.ints([0]), e.ints([-1])
    turned: ir.Value = e.op("Slice", value, *bounds)
    return turned
