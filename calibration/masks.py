"""Tensors that a mask of minus infinity runs through.

A mask adds minus infinity, or a number as good as that, to scores, so that a softmax gives zero.
Such a tensor has no quantization range: eight bits that reach that far resolve nothing else. It is
not observed, and the operators that touch it stay in float, unless `saturated_masks` knows the
mask.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgewise.calibration.operands import is_float
from edgewise.graph import constant

#: a number beyond this stands for infinity
_HUGE = 1e30
#: operators whose result is moderate whatever they read
_BOUNDED = frozenset({"Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax", "Tanh"})
#: operators whose constants are bounds, not data
_BOUNDING = frozenset({"Clip", "Max", "Min"})


def masked_tensors(model: ir.Model) -> frozenset[str]:
    """Names of the float tensors of the main graph that are made with a constant of such size, or
    from a tensor that is; a softmax or another bounded function ends it."""
    masked: set[ir.Value] = set()
    for node in model.graph:
        if node.op_type in _BOUNDED:
            continue
        made = node.op_type not in _BOUNDING and any(map(_is_huge, node.inputs))
        if made or any(value in masked for value in node.inputs):
            masked |= {value for value in node.outputs if is_float(value)}
    return frozenset(value.name for value in masked if value.name)


def _is_huge(value: ir.Value | None) -> bool:
    array = constant(value) if is_float(value) else None
    if array is None or not array.size:
        return False
    # fmax and fmin pass NaN over, and need no copy of the constant
    low, high = np.fmin.reduce(array, axis=None), np.fmax.reduce(array, axis=None)
    return bool(low < -_HUGE or high > _HUGE)
