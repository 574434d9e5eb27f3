"""A depthwise transposed convolution as a depthwise convolution.

TFLite has no grouped transposed convolution, and a dense kernel costs as many times more as there
are channels. With `stride - 1` zeros after each row and column of the input, output `o` is

    sum over taps t of stuffed[o + crop - t * dilation] * weights[t],

an ordinary convolution with the kernel turned around, which costs only stride_h * stride_w more.
(16 channels of 64x64, stride 2: 0.52 ms against 0.97 ms; 8 channels: 0.52 against 0.47.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgewise.targets.android.builder import Builder
from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import NHWC, Value
from edgewise.targets.android.model import Array
from edgewise.targets.android.ops.spatial import VALID, Window, pad_image
from edgewise.targets.android.ops.weights import weight_tensors


def is_cheaper(channels: int, groups: int, window: Window) -> bool:
    """Than one dense kernel: its copies count for as much again."""
    return groups == channels > 2 * window.strides[0] * window.strides[1]


def lower_stuffed(call: Call, x: Value, window: Window, output: tuple[int, int, int, int]) -> Value:
    """NHWC to NHWC, not finished; `begin` of the window is what is dropped before the output."""
    builder, channels = call.builder, output[1]
    multiplier = channels // x.shape[1]
    begin, end = [], []
    for axis, (stride, extent) in enumerate(zip(window.strides, window.extent, strict=True)):
        before = extent - 1 - window.begin[axis]
        begin.append(before)
        end.append(output[2 + axis] + extent - 1 - before - x.shape[2 + axis] * stride)
    padded = _padded(builder, _stuffed(builder, x, window), begin, end)
    weights, bias = weight_tensors(call, _turned, 1, 3, channels)
    options: dict[str, Any] = {
        "padding": VALID,
        "strideH": 1,
        "strideW": 1,
        "dilationHFactor": window.dilations[0],
        "dilationWFactor": window.dilations[1],
        "depthMultiplier": multiplier,
        "fusedActivationFunction": call.fused_activation(),
    }
    return call.write("DEPTHWISE_CONV_2D", [padded, weights, bias], NHWC, shape=output, **options)


def _turned(kernel: Array) -> Array:
    """(I, M, [H,] W) to (1, H, W, I * M), rows and columns from the last to the first."""
    image = kernel if kernel.ndim == 4 else kernel[:, :, None, :]
    inputs, multiplier, height, width = image.shape
    turned = image[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)
    return turned.reshape(1, height, width, inputs * multiplier)


def _stuffed(builder: Builder, x: Value, window: Window) -> Value:
    """Zeros after each column, then after each row."""
    batch, height, width, channels = x.tensor.shape
    down, across = window.strides
    wide = _stuffed_rows(builder, x, (batch * height * width, 1, channels), across)
    tall = _stuffed_rows(builder, wide, (batch * height, 1, width * across * channels), down)
    shape = (batch, height * down, width * across, channels)
    return Value(builder.reshape(tall.tensor, shape), NHWC)


def _stuffed_rows(builder: Builder, x: Value, shape: tuple[int, int, int], stride: int) -> Value:
    """`stride - 1` rows of zeros after each row of (rows, 1, elements)."""
    if stride == 1:
        return x
    rows = Value(builder.reshape(x.tensor, shape), (0, 1, 2))
    pads = builder.constant(np.array([[0, 0], [0, stride - 1], [0, 0]], np.int32))
    return builder.like("PAD", [rows, pads], rows, shape=(shape[0], stride, shape[2]))


def _padded(builder: Builder, x: Value, begin: list[int], end: list[int]) -> Value:
    """Zeros around an image; negative amounts cut off."""
    shape = list(x.tensor.shape)
    for axis in (0, 1):
        shape[axis + 1] += min(begin[axis], 0) + min(end[axis], 0)
    if tuple(shape) != x.tensor.shape:
        start = builder.ints([0, max(-begin[0], 0), max(-begin[1], 0), 0])
        x = builder.like("SLICE", [x, start, builder.ints(shape)], x, shape=shape)
    low, high = [max(pad, 0) for pad in begin], [max(pad, 0) for pad in end]
    return pad_image(builder, x, low, high) if any(low) or any(high) else x
