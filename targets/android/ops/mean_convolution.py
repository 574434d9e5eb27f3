"""Int8 averages as depthwise convolutions.

XNNPACK leaves int8 AVERAGE_POOL_2D to a kernel that is 7 to 12 times slower than its own depthwise
convolution (LiteRT 2.3, 3x3 over 64 channels of 56x56: 0.84 ms against 0.11 ms, one thread). With
weights 127 of scale 1 / (127 * elements) the sum of products is 127 * sum(x - zero point), whole
numbers, and what is rounded is the mean.
"""

from __future__ import annotations

import math

import numpy as np

from edgewise.targets.android.builder import INT8, INT32, Builder
from edgewise.targets.android.call import NO_ACTIVATION
from edgewise.targets.android.layout import Value
from edgewise.targets.android.model import Quantization, Tensor
from edgewise.targets.android.ops.pool_window import Plane

_ONE = 127


def mean_by_convolution(builder: Builder, x: Value, plane: Plane, padding: int) -> Value:
    """The mean over each window of an NHWC image; padding counts as zeros."""
    source, window = x.quantization, plane.window
    assert source is not None  # of int8 values
    batch, channels = x.shape[:2]
    scale = np.float32(1 / (_ONE * math.prod(window.kernel)))
    weights = np.full((1, *window.kernel, channels), _ONE, INT8)
    bias_scale = (source.scale * scale).astype(np.float32)
    operands: list[Tensor | Value] = [
        x,
        builder.constant(weights, quantization=Quantization.symmetric(np.array(scale))),
        builder.constant(
            np.zeros(channels, INT32), quantization=Quantization.symmetric(bias_scale, 0, INT32)
        ),
    ]
    return builder.like(
        "DEPTHWISE_CONV_2D",
        operands,
        x,
        shape=[batch, *plane.output, channels],
        padding=padding,
        strideH=window.strides[0],
        strideW=window.strides[1],
        dilationHFactor=window.dilations[0],
        dilationWFactor=window.dilations[1],
        depthMultiplier=1,
        fusedActivationFunction=NO_ACTIVATION,
    )
