"""CenterCropPad: a centred window of given size, cropped or padded with zeros axis by axis.

What is odd goes to the end: `difference // 2` is cut off, or added, before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import Expansion


def expand_center_crop_pad(e: Expansion) -> Sequence[ir.Value]:
    shape = e.shape()
    axes = [int(axis) % len(shape) for axis in e.attribute("axes") or range(len(shape))]
    wanted = [int(size) for size in e.known(1, "shape")]
    starts, ends, before, after = [], [], [], []
    for axis, size in zip(axes, wanted, strict=True):
        surplus = max(shape[axis] - size, 0)
        missing = max(size - shape[axis], 0)
        starts.append(surplus // 2)
        ends.append(surplus // 2 + min(size, shape[axis]))
        before.append(missing // 2)
        after.append(missing - missing // 2)
    x = e.input(0)
    named = e.ints(axes)
    if any(
        start or end != shape[axis] for start, end, axis in zip(starts, ends, axes, strict=True)
    ):
        x = e.op("Slice", x, e.ints(starts), e.ints(ends), named)
    if any(before) or any(after):
        zero = e.array(np.zeros((), e.dtype()))
        x = e.op("Pad", x, e.ints([*before, *after]), zero, named)
    return [x]
