"""Weights that move between their DequantizeLinear and their operator: moved here, with their grid.

Folding would compute the same array, but forget which integers it came from. Transpose permutes
the axis of the channels, Reshape, Squeeze and Unsqueeze keep it where it stays one axis.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import onnx_ir as ir

from edgewise.exporters.quantized.lifting import Lifted
from edgewise.graph import TensorQuantization, attribute, constant

_MOVING = ("Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def move_constant(lifted: Lifted, node: ir.Node) -> bool:
    """Replace the node by the constant that it gives; tells whether it was one that is known."""
    source = node.inputs[0] if node.inputs else None
    if source is None or node.op_type not in _MOVING or node.domain not in ("", "ai.onnx"):
        return False
    array, known = constant(source), lifted.known.get(source)
    if array is None or known is None:
        return False
    if node.op_type == "Transpose":
        order = [int(i) for i in attribute(node, "perm", range(array.ndim)[::-1])]
        array = array.transpose(order)
        moved: TensorQuantization | None = known
        if known.axis is not None:
            moved = replace(known, axis=order.index(known.axis))
    else:
        shape = node.outputs[0].shape
        if shape is None or not shape.is_static():
            return False
        moved = _reshaped(known, array.shape, shape.numpy())
        array = array.reshape(shape.numpy())
    value = lifted.new_constant(source.name or "", np.ascontiguousarray(array))
    if moved is not None:
        lifted.know(value, moved)
    lifted.substitute(node.outputs[0], value)
    return True


def _reshaped(
    known: TensorQuantization, old: tuple[int, ...], new: tuple[int, ...]
) -> TensorQuantization | None:
    """None where the axis of the channels does not stay one."""
    if known.axis is None:
        return known
    for axis, size in enumerate(new):
        if size == old[known.axis] and prod(new[:axis]) == prod(old[: known.axis]):
            return replace(known, axis=axis)
    return None
