"""Pools whose last window would lie in the padding at the end alone.

With `ceil_mode` a pool may count one window more than fits. The ONNX specification ignores such a
window where it starts past the input and its padding at the beginning, and so does ONNX Runtime;
shape inference counts it up to opset 21, and every shape after it is then wrong. With

    room = size + pads - extent,   r = room mod stride > 0,

the windows that are left number floor(room / stride) + 1, and none reads the last r elements. So
  1. `ceil_mode` is switched off where no axis counts a window that it should; else
  2. the padding at the end is shortened by r, which makes the quotient whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgewise.graph.read import attribute

_POOLS = ("AveragePool", "LpPool", "MaxPool")


def has_ceil_mode(model: ir.Model) -> bool:
    return any(_is_ceiling(node) for node in model.graph.all_nodes())


def drop_empty_windows(model: ir.Model) -> bool:
    """Rewrite, in place, pools that would count an empty window; whether there were any.

    Every shape that was inferred from such a node is wrong afterwards.
    """
    found = [node for node in model.graph.all_nodes() if _is_ceiling(node)]
    return sum(_drop(node) for node in found) > 0


def _is_ceiling(node: ir.Node) -> bool:
    return node.op_type in _POOLS and node.domain == "" and bool(attribute(node, "ceil_mode", 0))


def _drop(node: ir.Node) -> bool:
    source = node.inputs[0]
    if source is None or source.shape is None or attribute(node, "auto_pad", "NOTSET") != "NOTSET":
        return False
    spatial = list(source.shape)[2:]
    if not all(isinstance(dim, int) for dim in spatial):
        return False
    sizes = np.array(spatial, np.int64)
    pads = _numbers(node, "pads", [0] * 2 * len(sizes)).reshape(2, -1)
    kernel, strides = (
        _numbers(node, "kernel_shape", []),
        _numbers(node, "strides", [1] * len(sizes)),
    )
    extent = (kernel - 1) * _numbers(node, "dilations", [1] * len(sizes)) + 1
    room = sizes + pads.sum(axis=0) - extent
    left = room % strides
    empty = (left > 0) & (room - left + strides >= sizes + pads[0])
    if not empty.any():
        return False
    if (empty | (left == 0)).all():
        node.attributes["ceil_mode"] = ir.AttrInt64("ceil_mode", 0)
        return True
    shorter = pads[1] - np.where(empty, left, 0)
    if (shorter < 0).any():
        return False
    node.attributes["pads"] = ir.AttrInt64s("pads", [*pads[0].tolist(), *shorter.tolist()])
    return True


def _numbers(node: ir.Node, name: str, default: Sequence[int]) -> np.ndarray:
    return np.array(attribute(node, name) or default, np.int64)
