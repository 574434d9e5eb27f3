"""Windows of a known size, as constants: a0 - a1 cos(2 pi n / N) + a2 cos(4 pi n / N).

N is the size of a periodic window, and one less for a symmetric one (ONNX operators HannWindow,
HammingWindow and BlackmanWindow).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import CannotExpand, Expansion

#: a0, a1, a2; the standard gives Hamming's as fractions
_COEFFICIENTS = {
    "BlackmanWindow": (0.42, 0.5, 0.08),
    "HammingWindow": (25 / 46, 1 - 25 / 46, 0.0),
    "HannWindow": (0.5, 0.5, 0.0),
}


def expand_window(e: Expansion) -> Sequence[ir.Value | None]:
    size = int(e.known(0, "size").reshape(()))
    around = size if e.attribute("periodic", 1) else size - 1
    if around == 0:
        raise CannotExpand("a symmetric window of one element is not defined", "Use a larger one.")
    angle = 2 * np.pi * np.arange(size) / around
    first, second, third = _COEFFICIENTS[e.node.op_type]
    window = first - second * np.cos(angle) + third * np.cos(2 * angle)
    dtype = ir.DataType(int(e.attribute("output_datatype", ir.DataType.FLOAT)))
    return [e.array(window.astype(dtype.numpy()))]
