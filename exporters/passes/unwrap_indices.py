"""Negative indices that are made positive before a Gather.

ONNX' Gather counts negative indices from the end itself ("Gather", opset 11 and up), so that with n
entries along its axis

    Gather(W, Where(i < 0, i + n, i)) = Gather(W, i)

Keras writes each Embedding so. The comparison may go over a Cast to a wider type.
"""

from __future__ import annotations

import onnx_ir as ir

from edgewise.exporters.passes.base import PassOutcome, is_op, operand_and_scalar, producer, scalar
from edgewise.graph import attribute


def unwrap_indices(model: ir.Model) -> PassOutcome:
    """Let the Gather read the indices themselves."""
    modified = False
    for node in model.graph:
        if not is_op(node, "Gather") or node.inputs[0] is None or node.inputs[0].shape is None:
            continue
        shape = node.inputs[0].shape
        entries = shape[int(attribute(node, "axis", 0)) % len(shape)]
        choice = producer(node.inputs[1], "Where")
        indices = None if choice is None else choice.inputs[2]
        if choice is None or indices is None or not isinstance(entries, int):
            continue
        if _is_negative(choice.inputs[0], indices) and _is_wrapped(
            choice.inputs[1], indices, entries
        ):
            node.replace_input_with(1, indices)
            modified = True
    return PassOutcome(model, modified)


def _is_negative(condition: ir.Value | None, indices: ir.Value) -> bool:
    less = producer(condition, "Less")
    if less is None or scalar(less.inputs[1]) != 0.0:
        return False
    cast = producer(less.inputs[0], "Cast")
    return (less.inputs[0] if cast is None else cast.inputs[0]) is indices


def _is_wrapped(value: ir.Value | None, indices: ir.Value, entries: int) -> bool:
    add = producer(value, "Add")
    found = None if add is None else operand_and_scalar(add)
    return found is not None and found[0] is indices and found[1] == entries
