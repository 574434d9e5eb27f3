"""DeformConv: a convolution whose window reads the image at computed places.

Element k of the window at output (i, j) is read at

    stride * (i, j) - padding + dilation * k + offset        (a pair of offsets per element)

linearly between pixels, as zero outside the image, and times its mask. What all windows have read
is a matrix (N * OH * OW, elements * C), and the convolution its product with the weights. Channels
come in `offset_group` groups of equal offsets, and the weights in `group` groups, which are blocks
of one matrix with zeros around them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import Array, CannotExpand, Expansion
from edgewise.graph.expand.sampling import Table, Tap, clip, columns, linear_taps, sample


def expand_deform_conv(e: Expansion) -> Sequence[ir.Value | None]:
    if e.dtype() != np.float32 or e.rank() != 4:
        raise CannotExpand(
            f"it convolves {e.dtype()} over {e.rank() - 2} axes", "Use float32 images."
        )
    weights = e.known(1, "weights")
    batch, channels, height, width = e.shape()
    output = e.shape(2)[2:]
    groups, elements = int(e.attribute("offset_group", 1)), math.prod(weights.shape[2:])
    down, across = _places(e, weights.shape[2:], groups)
    group = np.repeat(np.arange(groups, dtype=np.int32), elements).reshape(1, 1, 1, -1)
    taps = [
        linear_taps(e, clip(e, down, -2, height + 1), height, zeros=True),
        linear_taps(e, clip(e, across, -2, width + 1), width, zeros=True),
        [Tap(e.array(group), None)],
    ]
    pixels = e.transpose(e.input(0), [0, 2, 3, 1])
    inner = channels // groups
    table = Table(e.reshape(pixels, [-1, inner]), (height, width, groups))
    first = np.arange(batch, dtype=np.int32) * (height * width * groups)
    read = sample(e, table, taps, e.array(first.reshape(-1, 1, 1, 1)))
    if e.has(4):
        mask = e.transpose(e.input(4), [0, 2, 3, 1])
        read = e.op("Mul", read, e.reshape(mask, [-1, 1]))
    rows = e.reshape(read, [batch * output[0] * output[1], elements * channels])
    result = e.op("MatMul", rows, e.array(_matrix(e, weights, groups)))
    if e.has(3):
        result = e.op("Add", result, e.input(3))
    image = e.reshape(result, [batch, *output, weights.shape[0]])
    return [e.transpose(image, [0, 3, 1, 2])]


def _places(e: Expansion, kernel: Sequence[int], groups: int) -> list[ir.Value]:
    """Rows and columns that are read (N, OH, OW, groups * elements)."""
    batch, _, *output = e.shape(2)
    elements = math.prod(kernel)
    strides, dilations = e.attribute("strides") or [1, 1], e.attribute("dilations") or [1, 1]
    pads = e.attribute("pads") or [0] * 4
    split = e.reshape(e.input(2), [batch, groups * elements, 2, *output])
    offsets = columns(e, e.transpose(split, [0, 3, 4, 1, 2]), 2, axis=4)
    places = []
    for axis in (0, 1):
        shape = [1, 1, 1, 1]
        shape[axis + 1] = output[axis]
        corner = (np.arange(output[axis]) * strides[axis] - pads[axis]).reshape(shape)
        inside = np.indices(kernel)[axis].reshape(-1) * dilations[axis]
        base = (corner + np.tile(inside, groups)).astype(np.float32)
        offset = e.reshape(offsets[axis], [batch, *output, groups * elements])
        places.append(e.op("Add", offset, e.array(base)))
    return places


def _matrix(e: Expansion, weights: Array, offset_groups: int) -> Array:
    """Weights (offset groups * elements * channels of one, outputs)."""
    channels, outputs = e.size(1), weights.shape[0]
    groups = int(e.attribute("group", 1))
    inputs, results = channels // groups, outputs // groups  # of one group
    elements = math.prod(weights.shape[2:])
    dense = np.zeros((channels, elements, outputs), weights.dtype)
    for group in range(groups):
        rows = slice(group * inputs, (group + 1) * inputs)
        part = slice(group * results, (group + 1) * results)
        block = weights[part].reshape(results, inputs, elements)
        dense[rows, :, part] = block.transpose(1, 2, 0)
    ordered = dense.reshape(offset_groups, channels // offset_groups, elements, outputs)
    return ordered.transpose(0, 2, 1, 3).reshape(-1, outputs)
