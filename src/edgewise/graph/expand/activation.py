"""Functions of one element."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import Expansion


def expand_swish(e: Expansion) -> Sequence[ir.Value]:
    """`x * sigmoid(alpha * x)` (ONNX operator Swish, opset 24)."""
    x, alpha = e.input(0), float(e.attribute("alpha", 1.0))
    inner = x if alpha == 1 else e.op("Mul", x, e.array(alpha, np.float32))
    return [e.op("Mul", x, e.op("Sigmoid", inner))]
