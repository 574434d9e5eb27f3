"""Conv over one, two and three axes.

1. one group                      CONV_2D, weights OHWI
2. as many groups as channels     DEPTHWISE_CONV_2D, weights 1HWO
3. other groups                   CONV_2D version 6, weights OHWI with the channels of one group
4. three axes                     cases 1 to 3 on images whose channels hold the depths that a
                                  window covers, see `volume`
5. computed weights (float)       the same operators; the weights are transposed as they come
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgewise.targets.android.builder import FLOAT32
from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import NHWC, Value
from edgewise.targets.android.model import Array, Tensor
from edgewise.targets.android.ops.spatial import (
    Window,
    fit_padding,
    from_image,
    image,
    image_output_shape,
    needed_end,
    planar,
    read_window,
)
from edgewise.targets.android.ops.volume import NDHWC, pad_depth, stack_taps, unstack
from edgewise.targets.android.ops.weights import int8_obstacle, weight_tensors

_GROUPED_VERSION = 6


def conv_int8_obstacle(call: Call) -> str | None:
    return int8_obstacle(call, channel_axis=0, channels=call.shape(1)[0])


def lower_conv(call: Call) -> None:
    shape = call.shape(1)
    check_rank(call, len(shape) - 2)
    window = read_window(call, shape[2:])
    if len(shape) < 5:
        x = image(call.builder, call.operand(0))
        y = _convolve(call, x, planar(window), image_output_shape(call))
        call.finish(from_image(call.builder, y, len(shape)))
        return
    x = _depth_in_channels(call, window)
    batch, channels, depth, height, width = call.output_shape()
    y = _convolve(call, x, window.along((1, 2)), (batch * depth, channels, height, width))
    call.finish(unstack(call.builder, y, batch))


def check_rank(call: Call, rank: int) -> None:
    if rank not in (1, 2, 3):
        raise call.refuse(
            f"it slides over {rank} axes; TFLite can be made to slide over 1, 2 and 3",
            "Use a layer of fewer dimensions.",
        )


def _depth_in_channels(call: Call, window: Window) -> Value:
    """Case 4: the images to convolve."""
    builder, depth = call.builder, call.output_shape()[2]
    x = builder.reorder(call.operand(0), NDHWC)
    along = window.along((0,))
    (end,) = needed_end(along, x.shape[2:3], (depth,))
    x = pad_depth(builder, x, along.begin[0], end)
    starts = [tap * along.dilations[0] for tap in range(along.kernel[0])]
    groups = int(call.attribute("group", 1))
    return stack_taps(builder, x, groups, starts, along.strides[0], depth)


def _convolve(call: Call, x: Value, window: Window, output: tuple[int, int, int, int]) -> Value:
    """Cases 1 to 3: NHWC to NHWC, not finished."""
    channels, groups = output[1], int(call.attribute("group", 1))
    depthwise = groups > 1 and x.shape[1] == groups
    x, padding = fit_padding(call.builder, x, window, output[2:])
    weights, bias = _parameters(call, depthwise)
    options: dict[str, Any] = {
        "padding": padding,
        "strideH": window.strides[0],
        "strideW": window.strides[1],
        "dilationHFactor": window.dilations[0],
        "dilationWFactor": window.dilations[1],
        "fusedActivationFunction": call.fused_activation(),
    }
    version = None
    if depthwise:
        kind = "DEPTHWISE_CONV_2D"
        options["depthMultiplier"] = channels // groups
    else:
        kind, version = "CONV_2D", _GROUPED_VERSION if groups > 1 else None
    return call.write(kind, [x, weights, bias], NHWC, shape=output, version=version, **options)


def _parameters(call: Call, depthwise: bool) -> tuple[Tensor, Tensor]:
    if call.constant(1) is None:
        return _computed_parameters(call, depthwise)
    arrange = _to_depthwise if depthwise else _to_ohwi
    return weight_tensors(call, arrange, 0, 3 if depthwise else 0, call.shape(1)[0])


def _to_ohwi(kernel: Array) -> Array:
    """(O, I, [D, [H,]] W) to (O, H, W, D * I)."""
    volume = kernel.reshape(*kernel.shape[:2], *(1,) * (5 - kernel.ndim), *kernel.shape[2:])
    outputs, inputs, depth, height, width = volume.shape
    return volume.transpose(0, 3, 4, 2, 1).reshape(outputs, height, width, depth * inputs)


def _to_depthwise(kernel: Array) -> Array:
    """(O, 1, [1, [H,]] W) to (1, H, W, O)."""
    return _to_ohwi(kernel).transpose(3, 1, 2, 0)


def _computed_parameters(call: Call, depthwise: bool) -> tuple[Tensor, Tensor]:
    """Case 5."""
    builder, kernel = call.builder, call.operand(1)
    channels, inputs, *spatial = kernel.shape
    height, width = [1, *spatial][-2:]
    rank = kernel.rank
    if depthwise:
        ordered = builder.reorder(kernel, (1, *range(2, rank), 0))
        shape = (1, height, width, channels)
    else:
        tail = (2, 1) if rank == 5 else (1,)
        ordered = builder.reorder(kernel, (0, *range(2, rank)[-2:], *tail))
        depth = spatial[0] if rank == 5 else 1
        shape = (channels, height, width, depth * inputs)
    return builder.reshape(ordered.tensor, shape), computed_bias(call, channels)


def computed_bias(call: Call, channels: int) -> Tensor:
    """The bias beside computed weights; zeros where there is none."""
    if call.has(2):
        return call.builder.linear(call.operand(2)).tensor
    return call.builder.constant(np.zeros(channels, FLOAT32))
