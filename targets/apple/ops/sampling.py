"""GridSample: MIL `resample`, where it is the same.

Both read an image of two axes at places between -1 and 1, (x, y) for each sample, with the corners
of the image, or with those of its pixels, at both ends. What is outside:
    ONNX                                MIL
    zeros                               constant
    border                              border
    reflection, align_corners           reflection: about the middle of the last pixel
    reflection otherwise                symmetric: about its edge
MIL does not say which pixel is the nearest to a place half-way between two, and it has no cubic and
no volumes; those are written out (`edgewise.graph.expand.grid_sample`). So is a reflection along an
axis of one pixel.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgewise.graph import attribute
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple.call import Call, Operand

_PADDING = {"zeros": "constant", "border": "border", "reflection": "symmetric"}


def is_bilinear_on_images(node: ir.Node) -> bool:
    image = node.inputs[0]
    if image is None or image.shape is None or not image.shape.is_static():
        return False
    shape = image.shape.numpy()
    if len(shape) != 4:
        return False
    if attribute(node, "mode", "linear") not in ("linear", "bilinear"):
        return False
    return attribute(node, "padding_mode", "zeros") != "reflection" or min(shape[2:]) > 1


def grid_sample(call: Call) -> Operand:
    aligned = bool(call.attribute("align_corners", 0))
    padding = call.attribute("padding_mode", "zeros")
    return mb.resample(
        x=call.var(0),
        coordinates=call.var(1),
        sampling_mode="bilinear",
        padding_mode=padding if padding == "reflection" and aligned else _PADDING[padding],
        padding_value=np.float32(0),
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=aligned,
        name=call.name,
    )
