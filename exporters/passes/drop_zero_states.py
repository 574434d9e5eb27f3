"""Initial states of RNN, GRU and LSTM that are zero.

ONNX takes zeros where `initial_h` (input 5) and `initial_c` (input 6) are not given. Exporters make
them of the size of the batch, which takes a handful of nodes where the batch is free:

1. a constant of zeros
2. Expand or ConstantOfShape of zero, to any shape
3. those behind Reshape, Squeeze, Unsqueeze, Cast, Transpose, Slice or Identity
4. a Concat of such, as for the two directions of one layer
"""

from __future__ import annotations

import onnx_ir as ir

from edgewise.exporters.passes.base import PassOutcome, is_op
from edgewise.graph import attribute, constant

_STATES = (5, 6)
_MOVES = ("Cast", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")


def drop_zero_states(model: ir.Model) -> PassOutcome:
    """Leave away initial states that are known to be zero."""
    modified = False
    for node in model.graph:
        if not is_op(node, "RNN", "GRU", "LSTM"):
            continue
        for index in _STATES:
            if index < len(node.inputs) and _is_zero(node.inputs[index]):
                node.replace_input_with(index, None)
                modified = True
    return PassOutcome(model, modified)


def _is_zero(value: ir.Value | None) -> bool:
    if value is None:
        return False
    array = constant(value)
    if array is not None:
        return not array.any()
    maker = value.producer()
    if maker is None:
        return False
    if is_op(maker, "ConstantOfShape"):
        filling = attribute(maker, "value")
        return filling is None or not filling.numpy().any()
    if is_op(maker, "Concat"):
        return all(_is_zero(part) for part in maker.inputs)
    return is_op(maker, "Expand", *_MOVES) and _is_zero(maker.inputs[0])
