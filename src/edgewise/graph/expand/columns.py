"""Col2Im: blocks put back at their places in an image, and added where they overlap.

(N, C * block, L) holds, for each of the L places of the block, its elements. That is what a
transposed convolution does with a kernel that puts channel `b` at element `b` of the block, one
image channel at a time: (N * C, block, places...) and a kernel (block, 1, block shape...).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import Expansion


def expand_col2im(e: Expansion) -> Sequence[ir.Value | None]:
    image = [int(size) for size in e.known(1, "image shape")]
    block = [int(size) for size in e.known(2, "block shape")]
    rank, elements = len(image), math.prod(block)
    batch, channels = e.size(0), e.size(1) // elements
    strides = e.attribute("strides") or [1] * rank
    dilations = e.attribute("dilations") or [1] * rank
    pads = e.attribute("pads") or [0] * 2 * rank
    places, missing = [], []
    for axis in range(rank):
        extent = (block[axis] - 1) * dilations[axis] + 1
        room = image[axis] + pads[axis] + pads[rank + axis] - extent
        places.append(room // strides[axis] + 1)
        missing.append(room % strides[axis])  # rows at the end that no block reaches
    kernel = np.eye(elements, dtype=e.dtype()).reshape(elements, 1, *block)
    summed = e.op(
        "ConvTranspose",
        e.reshape(e.input(0), [batch * channels, elements, *places]),
        e.array(kernel),
        strides=strides,
        dilations=dilations,
        pads=pads,
        output_padding=missing if any(missing) else None,
    )
    return [e.reshape(summed, [batch, channels, *image])]
