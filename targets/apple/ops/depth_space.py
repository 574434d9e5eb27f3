"""DepthToSpace and SpaceToDepth.

The order of the channels is (row, column, channel) in DCR, (channel, row, column) in CRD.
1. floats: `depth_to_space` and `space_to_depth` for DCR, `pixel_shuffle` and, from iOS 16 on,
   `pixel_unshuffle` for CRD, all of them for blocks of two elements and more;
2. anything else: reshapes and transposes of at most five axes, which Core ML allows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var, types
from edgewise.targets.apple.call import Call, Operand
from edgewise.targets.apple.deployment import is_older
from edgewise.targets.apple.ops.numbers import as_number


def depth_to_space(call: Call) -> Operand:
    x, block = as_number(call.var(0)), int(call.attribute("blocksize"))
    column_row = call.attribute("mode", "DCR") == "CRD"
    if block == 1:
        return x
    if x.dtype in (types.fp16, types.fp32):
        if column_row:
            return mb.pixel_shuffle(x=x, upscale_factor=block, name=call.name)
        return mb.depth_to_space(x=x, block_size=block, name=call.name)
    n, channels, height, width = call.shape(0)
    c = channels // block**2
    if column_row:
        x = _moved(x, [n * c, block, block, height, width], [0, 3, 1, 4, 2])
    else:
        x = _moved(x, [n * block, block, c * height * width], [0, 2, 1])
        x = _moved(x, [n, block, c * height, width * block], [0, 2, 1, 3])
    return mb.reshape(x=x, shape=[n, c, height * block, width * block], name=call.name)


def space_to_depth(call: Call) -> Operand:
    x, block = as_number(call.var(0)), int(call.attribute("blocksize"))
    column_row = call.attribute("mode", "DCR") == "CRD"
    if block == 1:
        return x
    if x.dtype in (types.fp16, types.fp32):
        if not column_row:
            return mb.space_to_depth(x=x, block_size=block, name=call.name)
        if not is_older(call.system, "iOS16"):
            return mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(block), name=call.name)
    n, c, *size = call.shape(0)
    height, width = (length // block for length in size)
    if column_row:
        x = _moved(x, [n * c, height, block, width, block], [0, 2, 4, 1, 3])
    else:
        x = _moved(x, [n, c * height, block, width * block], [0, 2, 1, 3])
        x = _moved(x, [n * block, c * height * width, block], [0, 2, 1])
    return mb.reshape(x=x, shape=[n, c * block**2, height, width], name=call.name)


def _moved(x: Var, shape: Sequence[int], perm: Sequence[int]) -> Var:
    return mb.transpose(x=mb.reshape(x=x, shape=list(shape)), perm=list(perm))
