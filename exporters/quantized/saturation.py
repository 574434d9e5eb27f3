"""Activations that only live on in the saturation of integers, as float nodes again.

Quantizers remove a Relu or Clip behind an operator whose integers cannot leave its bounds anyway:
with a zero point at the lowest integer, nothing below zero can be stored. Without rounding and
saturation the function would be lost, so a tensor that is stored like this gets a Relu, or a
Clip(0, 6) where the integers end at 6, unless it cannot be negative:

1. it comes from an operator with such results, or is an input of the model,
2. or from one that keeps signs, with inputs that cannot be negative.

Bounds on both sides of zero, such as Clip(-1, 1), cannot be told from a range that was measured.
They stay out of the float model; the ranges have them.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgewise.exporters.quantized.lifting import Lifted
from edgewise.graph import TensorQuantization, constant

_SIX = 6.0
_NOT_NEGATIVE = frozenset({
    "Abs", "Exp", "HardSigmoid", "ReduceL1", "ReduceL2", "ReduceSumSquare", "Relu", "Sigmoid",
    "Softmax", "Softplus", "Sqrt",
})  # fmt: skip
_KEEPING_SIGNS = frozenset({
    "Add", "AveragePool", "Concat", "DepthToSpace", "Div", "Dropout", "Expand", "Flatten",
    "Gather", "GlobalAveragePool", "GlobalMaxPool", "Identity", "Max", "MaxPool", "Min", "Mul",
    "Pow", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Reshape", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
})  # fmt: skip


def saturated(lifted: Lifted, value: ir.Value, parameters: TensorQuantization) -> ir.Value:
    """The tensor whose integers these are: `value`, or what its activation makes of it."""
    if value in lifted.activated:
        return lifted.activated[value]
    limits = np.iinfo(parameters.zero_point.dtype)
    lowest = parameters.per_tensor and int(parameters.zero_point) == limits.min
    if not lowest or value.is_graph_input() or _cannot_be_negative(value):
        return value
    top = (limits.max - limits.min) * float(parameters.scale)
    bounded = math.isclose(top, _SIX, rel_tol=1e-4)
    made = lifted.activate(value, _SIX if bounded else None)
    lifted.activated[value] = made
    return made


def _cannot_be_negative(value: ir.Value) -> bool:
    seen = {value}
    waiting = [value]
    while waiting:
        current = waiting.pop()
        array, node = constant(current), current.producer()
        if array is not None:
            if array.size and float(array.min()) < 0.0:
                return False
        elif node is None or node.op_type not in _NOT_NEGATIVE | _KEEPING_SIGNS | {"Clip"}:
            return False
        elif node.op_type == "Clip":
            low = constant(node.inputs[1]) if len(node.inputs) > 1 else None
            if low is None or float(low.reshape(())) < 0.0:
                return False
        elif node.op_type in _KEEPING_SIGNS:
            new = [v for v in node.inputs if v is not None and v not in seen and _is_data(v)]
            seen.update(new)
            waiting.extend(new)
    return True


def _is_data(value: ir.Value) -> bool:
    """Not a shape, an index or an axis."""
    return value.dtype is None or value.dtype.is_floating_point()
