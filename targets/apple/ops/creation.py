"""Tensors that come from no input: constants, ranges and filled tensors.

1. Constant                  its value
2. ConstantOfShape           the value of one element, repeated
3. Range                     start + [0, delta, 2 delta, ...] where the limit is the start plus a
                             constant, so that the length is known
4. Dropout                   at inference its input, and a mask of nothing but true
A length that depends on data may stand at the end of a graph alone (see `dynamic`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgewise.graph import constant
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple.call import Call, Operand, core_ml_array
from edgewise.targets.apple.ops.dynamic import at_the_end

#: attributes of Constant other than a tensor
_NUMBERS = {
    "value_int": np.int64,
    "value_ints": np.int64,
    "value_float": np.float32,
    "value_floats": np.float32,
}


def constant_node(call: Call) -> Operand:
    """Case 1. What a model's nodes read has been lifted out of nodes before; a constant that is an
    output of the model has not."""
    given = call.attribute("value")
    if given is not None:
        return np.asarray(given.numpy())
    for name, dtype in _NUMBERS.items():
        numbers = call.attribute(name)
        if numbers is not None:
            return np.asarray(numbers, dtype)
    call.refuse("its value is no tensor of numbers", "Export the model again.")


def constant_of_shape(call: Call) -> Operand:
    """Case 2."""
    given = call.attribute("value")
    element = (np.zeros(1, np.float32) if given is None else given.numpy()).reshape(-1)[0]
    if call.is_constant(0):
        return np.full(call.ints(0, "shape"), element)
    at_the_end(call, "the shape that it fills is only known once the model runs")
    return mb.fill(shape=call.var(0), value=core_ml_array(np.asarray(element)), name=call.name)


def range_(call: Call) -> Operand:
    """Case 3."""
    span = _span(call)
    if span is None:
        at_the_end(call, "how many numbers it has is only known once the model runs")
        start, end, step = (call.var(index) for index in range(3))
        return mb.range_1d(start=start, end=end, step=step, name=call.name)
    delta = int(call.array(2, "step").reshape(()))
    steps = np.arange(0, span, delta)
    if not steps.size:
        return steps
    return mb.add(x=call.var(0), y=core_ml_array(steps), name=call.name)


def _span(call: Call) -> int | None:
    """How far the limit is from the start, where it is the start plus a constant. Of integers
    only: what a sum of floating-point numbers has lost is not known."""
    start, limit, _ = call.node.inputs
    producer = None if limit is None else limit.producer()
    if call.is_float(0) or not call.is_constant(2):
        return None
    if producer is None or producer.op_type != "Add" or start not in producer.inputs:
        return None
    others = [value for value in producer.inputs if value is not start]
    known = constant(others[0]) if others else None
    return None if known is None or known.size != 1 else int(known.reshape(()))


def dropout(call: Call) -> Sequence[Operand]:
    """Case 4."""
    if call.has(2) and call.array(2, "training mode").any():
        call.refuse("it drops values at random, as in training", "Export the model for inference.")
    if not call.wants_output(1):
        return [call.operand(0)]
    return [call.operand(0), np.ones(call.shape(0), np.bool_)]
