"""How often a WHILE of a TFLite file runs, where the file tells.

It does where a counter starts from a constant, the condition compares it with a constant, and the
body adds a constant: what converters write for recurrent layers and `for` loops. Of a condition
that joins several comparisons (LOGICAL_AND) the first one to end counts.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgewise.targets.android.model import Graph, Operator, Tensor

_BODIES = ("condSubgraphIndex", "bodySubgraphIndex")


def trip_count(loop: Operator, known: Mapping[Tensor, Tensor]) -> int | None:
    """Runs of the body of a WHILE; `known` maps inputs of a body around it to what they stand for.

    None where data decide.
    """
    condition, body = (loop.bodies.get(name) for name in _BODIES)
    if condition is None or body is None or not condition.outputs:
        return None
    start = [_number(known.get(tensor, tensor)) for tensor in loop.inputs]
    return _runs(condition.outputs[0], condition, body, start)


def _runs(tensor: Tensor, condition: Graph, body: Graph, start: list[int | None]) -> int | None:
    maker = _maker(tensor, condition)
    if maker is None:
        return None
    if maker.kind == "LOGICAL_AND":
        ends = [_runs(part, condition, body, start) for part in maker.inputs]
        known = [end for end in ends if end is not None]
        return min(known, default=None)
    if maker.kind not in ("LESS", "LESS_EQUAL"):
        return None
    counter, limit = maker.inputs
    if counter not in condition.inputs:
        return None
    place = condition.inputs.index(counter)
    first, step = start[place], _step(place, body)
    end = _number(limit)
    if end is None and limit in condition.inputs and _stays(condition.inputs.index(limit), body):
        end = start[condition.inputs.index(limit)]
    if first is None or end is None or step is None or step <= 0:
        return None
    return max(0, -(-(end + (maker.kind == "LESS_EQUAL") - first) // step))


def _step(place: int, body: Graph) -> int | None:
    """What the body adds to the carried value of that place."""
    maker = _maker(body.outputs[place], body)
    if maker is None or maker.kind != "ADD" or body.inputs[place] not in maker.inputs:
        return None
    others = [tensor for tensor in maker.inputs if tensor is not body.inputs[place]]
    return _number(others[0]) if len(others) == 1 else None


def _stays(place: int, body: Graph) -> bool:
    return body.outputs[place] is body.inputs[place]


def _maker(tensor: Tensor, graph: Graph) -> Operator | None:
    return next((op for op in graph.operators if tensor in op.outputs), None)


def _number(tensor: Tensor) -> int | None:
    data = tensor.data
    return int(data.reshape(-1)[0]) if data is not None and data.size == 1 else None
