"""A file cut into parts at given tensors.

Operators that hand on a tensor which is no cut belong to one part, and each operator to exactly
one: parts are the connected components of the graph without its cuts. So times of parts add up,
and XNNPACK fuses within a part what it fuses in the whole (a PAD with its convolution, a function
with its quantization), though not across a cut.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from edgewise.targets.android.model import Graph, Operator, Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """`reads` come from outside: other parts, or inputs of the file; `writes` go there."""

    operators: tuple[Operator, ...]
    reads: tuple[Tensor, ...]
    writes: tuple[Tensor, ...]


def parts_of(graph: Graph, cuts: Collection[Tensor]) -> list[Part]:
    """The parts, in the order of their last operators."""
    cut = set(cuts)
    number: dict[Operator, int] = {}
    members: dict[int, list[Operator]] = {}
    writers = {out: operator for operator in graph.operators for out in operator.outputs}
    for index, operator in enumerate(graph.operators):
        joined = {
            number[writers[tensor]]
            for tensor in operator.inputs
            if tensor in writers and tensor not in cut
        }
        number[operator] = index
        members[index] = [operator]
        for other in joined:
            members[index] += members.pop(other)
        number.update(dict.fromkeys(members[index], index))
    position = {operator: index for index, operator in enumerate(graph.operators)}
    ends = set(graph.outputs)
    return [
        _part(sorted(group, key=position.__getitem__), graph, ends) for group in members.values()
    ]


def _part(operators: list[Operator], graph: Graph, ends: Collection[Tensor]) -> Part:
    inside = set(operators)
    written = {out for operator in operators for out in operator.outputs}
    needed = {
        tensor
        for operator in graph.operators
        if operator not in inside
        for tensor in operator.inputs
    }
    reads = dict.fromkeys(
        tensor
        for operator in operators
        for tensor in operator.inputs
        if tensor.data is None and tensor not in written
    )
    writes = dict.fromkeys(
        out for operator in operators for out in operator.outputs if out in needed or out in ends
    )
    return Part(tuple(operators), tuple(reads), tuple(writes))


def part_graph(part: Part) -> Graph:
    """The part as a graph of its own, on copies of the tensors at its ends."""
    copies: dict[Tensor, Tensor] = {}

    def copy(tensor: Tensor) -> Tensor:
        if tensor.data is not None:
            return tensor
        if tensor not in copies:
            copies[tensor] = Tensor(
                tensor.shape, tensor.dtype, tensor.quantization, None, tensor.name
            )
        return copies[tensor]

    operators = [
        Operator(
            operator.kind,
            tuple(map(copy, operator.inputs)),
            tuple(map(copy, operator.outputs)),
            operator.options,
            operator.version,
            operator.origin,
            operator.bodies,
        )
        for operator in part.operators
    ]
    inputs, outputs = list(map(copy, part.reads)), list(map(copy, part.writes))
    return Graph(operators, inputs, outputs, _names("input", inputs), _names("output", outputs))


def _names(word: str, tensors: list[Tensor]) -> list[str]:
    return [f"{word}_{index}" for index in range(len(tensors))]
