"""Inverse trigonometric functions, by ATAN2, which holds the angle in every quadrant:

1. atan x = atan2(x, 1)
2. asin x = atan2(x, r) and acos x = atan2(r, x) with r = sqrt((1 - x) (1 + x)), whose factors lose
   no digits near the ends; outside of [-1, 1] the root makes them NaN
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.android.builder import FLOAT32
from edgewise.targets.android.call import NO_ACTIVATION, Call
from edgewise.targets.android.layout import Value
from edgewise.targets.android.ops.activation import binary, chain


def lower_inverse(call: Call) -> None:
    x = call.operand(0)
    if call.op_type == "Atan":
        ones = call.builder.constant(np.ones(x.tensor.shape, FLOAT32))
        call.finish(call.builder.like("ATAN2", [x, ones], x))
        return
    root = _root(call, x)
    pair = [x, root] if call.op_type == "Asin" else [root, x]
    call.finish(call.builder.like("ATAN2", pair, x))


def _root(call: Call, x: Value) -> Value:
    builder = call.builder
    one = builder.float_scalar(1.0)
    below = builder.like("SUB", [one, x], x, fusedActivationFunction=NO_ACTIVATION)
    return chain(call, binary(call, "MUL", below, binary(call, "ADD", x, one)), ["SQRT"])
