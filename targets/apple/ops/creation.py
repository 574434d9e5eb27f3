"""Tensors that come from no input: constants, ranges and filled tensors.

1. Constant                  its value
2. ConstantOfShape           of a constant shape: the value of one element, repeated
3. Range                     a constant; or, computed from its start, of a length that is known:
                             start + delta * [0, 1, ..., n - 1]
4. Dropout                   at inference its input, and a mask of nothing but true
What a number of elements depends on data for has no static shape, and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgewise.graph import static_shape
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple.call import Call, Operand, core_ml_array

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
    element = np.zeros(1, np.float32) if given is None else given.numpy()
    return np.full(call.ints(0, "shape"), element.reshape(-1)[0])


def range_(call: Call) -> Operand:
    """Case 3."""
    output = call.node.outputs[0]
    if output.shape is None or not output.shape.is_static():
        call.refuse(
            "its number of elements depends on data", "Give it constant limits, or fixed shapes."
        )
    (count,) = static_shape(output)
    start, delta = call.var(0), call.array(2, "step")
    steps = core_ml_array(np.arange(count) * delta.reshape(()).astype(delta.dtype))
    return mb.add(x=start, y=steps, name=call.name)


def dropout(call: Call) -> Sequence[Operand]:
    """Case 4."""
    if call.has(2) and call.array(2, "training mode").any():
        call.refuse("it drops values at random, as in training", "Export the model for inference.")
    if not call.wants_output(1):
        return [call.operand(0)]
    return [call.operand(0), np.ones(call.shape(0), np.bool_)]
