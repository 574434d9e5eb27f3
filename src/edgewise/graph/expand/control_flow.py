"""Loop and Scan without their bodies (ONNX operator specification).

1. Loop   a known number of iterations, few of them: the body once per iteration; what it stacks is
          concatenated along a new first axis
2. Scan   steps along an axis of each scanned input (see `sequence`): axes are moved to the front
          before and back behind, a reversed input or output is walked from its end

If needs nothing: preparing a model puts the branch of a known condition in its place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgewise.graph.bodies import bodies_of, trip_count
from edgewise.graph.expand.expansion import CannotExpand, Expansion
from edgewise.graph.expand.sequence import Cost, Produced, Scanned, Steps, Typed, are_few
from edgewise.graph.read import constant

#: a Loop that the caller cannot express grows the model by at most so many nodes
_MOST_NODES = 20_000


def expand_loop(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 1."""
    body: ir.Graph = e.attribute("body")
    count, cost = trip_count(e.node), _cost(body)
    if count is None:
        raise CannotExpand(
            "the number of its iterations depends on data",
            "Export the model with a constant number of iterations.",
        )
    if not are_few(count, cost) and (e.loops or count * cost.nodes > _MOST_NODES):
        raise CannotExpand(
            f"its {count} iterations are too many to write out",
            "Export the model with fewer iterations.",
        )
    states = [e.input(index) for index in range(2, len(e.node.inputs))]
    rows: list[list[ir.Value]] = []
    true = e.array(True, np.bool_)
    for iteration in range(count):
        _, *results = e.inline(body, [e.ints(iteration), true, *states])
        states, row = results[: len(states)], results[len(states) :]
        rows.append(row)
    outputs: list[ir.Value | None] = list(states)
    for index in range(len(states), len(e.node.outputs)):
        outputs.append(_stacked(e, index, [row[index - len(states)] for row in rows]))
    return outputs


def is_short(loop: ir.Node) -> bool:
    """Whether a Loop is best written out: its iterations are few, and known in number."""
    count = trip_count(loop)
    return count is not None and are_few(count, _cost(loop.attributes["body"].as_graph()))


def _stacked(e: Expansion, index: int, pieces: Sequence[ir.Value]) -> ir.Value | None:
    if not e.wants(index):
        return None
    if not pieces:
        raise CannotExpand("it never runs, and stacks nothing", "Leave it out of the model.")
    parts = [e.op("Unsqueeze", piece, e.ints([0])) for piece in pieces]
    stacked: ir.Value = e.op("Concat", *parts, axis=0)
    return stacked


def expand_scan(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 2."""
    body: ir.Graph = e.attribute("body")
    scanned = int(e.attribute("num_scan_inputs"))
    kept = len(e.node.inputs) - scanned
    sources = [_source(e, kept, index) for index in range(scanned)]
    lengths = {source.source.dims[0] for source in sources}
    if len(lengths) != 1 or not min(lengths):
        raise CannotExpand(
            f"it scans axes of the lengths {sorted(lengths)}", "Scan axes of one length, not empty."
        )
    produced = [_produced(e, kept, index) for index in range(len(body.outputs) - kept)]

    def step(
        e: Expansion, states: Sequence[ir.Value], slices: Sequence[ir.Value]
    ) -> tuple[Sequence[ir.Value], Sequence[ir.Value]]:
        inner = [
            e.reshape(piece, source.source.dims[1:])
            for piece, source in zip(slices, sources, strict=True)
        ]
        results = e.inline(body, [*states, *inner])
        pieces = zip(results[kept:], produced, strict=True)
        return results[:kept], [e.reshape(piece, (1, *made.dims)) for piece, made in pieces]

    states = [
        Typed(e.input(index), ir.DataType.from_numpy(e.dtype(index)), e.shape(index))
        for index in range(kept)
    ]
    steps = Steps(lengths.pop(), step, states, sources, produced, _cost(body))
    last, stacked = steps.run(e)
    axes = e.attribute("scan_output_axes") or [0] * len(produced)
    return [
        *last,
        *(_moved(e, value, 0, axis, len(made.dims) + 1)
          for value, axis, made in zip(stacked, axes, produced, strict=True)),
    ]  # fmt: skip


def _source(e: Expansion, kept: int, index: int) -> Scanned:
    """A scanned input with its axis of time first."""
    position = kept + index
    dims = list(e.shape(position))
    axes = e.attribute("scan_input_axes") or []
    axis = int(axes[index]) % len(dims) if axes else 0
    directions = e.attribute("scan_input_directions") or []
    value = _moved(e, e.input(position), axis, 0, len(dims))
    dims.insert(0, dims.pop(axis))
    dtype = ir.DataType.from_numpy(e.dtype(position))
    return Scanned(Typed(value, dtype, tuple(dims)), bool(directions and directions[index]))


def _produced(e: Expansion, kept: int, index: int) -> Produced:
    """What one step adds to a stacked output."""
    value = e.attribute("body").outputs[kept + index]
    shape = value.shape
    if shape is None or value.dtype is None or not all(isinstance(dim, int) for dim in shape):
        raise CannotExpand(
            f"the shape of its body's output '{value.name}' is not static",
            "Give fixed input shapes ([model] input_shapes, or --input-shape).",
        )
    directions = e.attribute("scan_output_directions") or []
    return Produced(value.dtype, tuple(shape), bool(directions and directions[index]))


def _moved(e: Expansion, value: ir.Value, source: int, target: int, rank: int) -> ir.Value:
    """The value with one axis moved, as numpy.moveaxis."""
    perm = [axis for axis in range(rank) if axis != source % rank]
    perm.insert(target % rank, source % rank)
    return e.transpose(value, perm)


def _cost(body: ir.Graph) -> Cost:
    """Of one iteration; a constant counts each time that a node reads it."""
    nodes = list(body.all_nodes())
    read = [constant(value) for node in nodes for value in node.inputs if not bodies_of(node)]
    return Cost(len(nodes), sum(array.nbytes for array in read if array is not None))
