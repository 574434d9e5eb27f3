"""CumProd (opset 26): the product of all elements up to each one along an axis.

A product of `n` elements takes `log2 n` steps: after the step of width `w`, element `i` holds the
product of the `2w` elements up to it, because each step multiplies by what lies `w` before, and by
one where nothing does.
  exclusive  elements are moved on by one place first, so that an element is not in its own product
  reverse    what lies behind is multiplied instead of what lies before
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import Expansion


def expand_cum_prod(e: Expansion) -> Sequence[ir.Value]:
    shape = e.shape()
    axis = int(e.known(1, "axis").reshape(())) % len(shape)
    size, reverse = shape[axis], bool(e.attribute("reverse", 0))
    x = e.input(0)
    if e.attribute("exclusive", 0):
        x = _moved(e, x, axis, size, 1, reverse=reverse)
    width = 1
    while width < size:
        x = e.op("Mul", x, _moved(e, x, axis, size, width, reverse=reverse))
        width *= 2
    return [x if e.nodes else e.op("Identity", x)]


def _moved(
    e: Expansion, x: ir.Value, axis: int, size: int, width: int, *, reverse: bool
) -> ir.Value:
    """Elements `width` places further along the axis, with ones where none comes from."""
    start, end = (width, size) if reverse else (0, size - width)
    before, after = (0, width) if reverse else (width, 0)
    named = e.ints([axis])
    kept = e.op("Slice", x, e.ints([start]), e.ints([end]), named)
    one = e.array(np.ones((), e.dtype()))
    padded: ir.Value = e.op("Pad", kept, e.ints([before, after]), one, named)
    return padded
