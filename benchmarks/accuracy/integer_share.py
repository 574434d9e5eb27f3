"""Which share of a model's matrix products runs in integers.

A product of (..., m, k) and (k, n) counts 2 m n k operations; its m and n are read from the static
shape of its output, k from the last axis of its first operand (Gemm with transA: the first axis).
It runs in integers where both operands come from DequantizeLinear.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgewise.graph import attribute, load

_PRODUCTS = ("Gemm", "MatMul")


def integer_share(path: Path) -> float | None:
    """Of the QDQ model in `path`; None where it has no product of known shape."""
    whole = integer = 0
    for node in load(path).graph:
        if node.op_type in _PRODUCTS:
            count = _operations(node)
            whole += count
            integer += count * all(_dequantized(value) for value in node.inputs[:2])
    return integer / whole if whole else None


def _operations(node: ir.Node) -> int:
    first, output = node.inputs[0], node.outputs[0]
    if first is None or first.shape is None or output.shape is None:
        return 0
    axis = 0 if node.op_type == "Gemm" and attribute(node, "transA", 0) else -1
    sizes = [*output.shape, first.shape[axis]]
    if not all(isinstance(size, int) for size in sizes):
        return 0
    return 2 * int(np.prod([int(size) for size in sizes if isinstance(size, int)]))


def _dequantized(value: ir.Value | None) -> bool:
    """Behind a DequantizeLinear, or behind what only moves what one gives."""
    while value is not None and (node := value.producer()) is not None:
        if node.op_type == "DequantizeLinear":
            return True
        if node.op_type not in ("Reshape", "Transpose"):
            return False
        value = node.inputs[0]
    return False
