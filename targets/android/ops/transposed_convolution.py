"""ConvTranspose over one, two and three axes.

1. one and two axes     TRANSPOSE_CONV with SAME padding where it crops as ONNX does, else VALID
                        and a SLICE
2. dilations, output_padding, and rows that no input reaches
                        zeros between and after the kernel's elements
3. groups               a group per channel: a depthwise convolution where that is cheaper, see
                        `stuffed_convolution`; others: weights spread over a dense kernel
4. computed weights     (float) transposed as they come, where neither 2 nor 3 applies
5. three axes           along depth, output `o` is the sum over the window's taps `t` of the input
                        at (o + crop - t * dilation) / stride where that is whole: a convolution
                        of the input with zeros stuffed in. Its depths go into the channels, see
                        `volume`, and case 1 does the rest
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import NHWC, Value
from edgewise.targets.android.model import Array, Tensor
from edgewise.targets.android.ops.convolution import check_rank, computed_bias
from edgewise.targets.android.ops.spatial import (
    SAME,
    VALID,
    Dims,
    Window,
    from_image,
    image,
    image_output_shape,
    planar,
)
from edgewise.targets.android.ops.stuffed_convolution import is_cheaper, lower_stuffed
from edgewise.targets.android.ops.volume import NDHWC, pad_depth, stack_taps, stuff_depth, unstack
from edgewise.targets.android.ops.weights import int8_obstacle, weight_tensors

_BIAS_VERSION, _ACTIVATION_VERSION = 3, 4


def conv_transpose_int8_obstacle(call: Call) -> str | None:
    return int8_obstacle(call, channel_axis=1, channels=call.output_shape()[1])


def lower_conv_transpose(call: Call) -> None:
    shape = call.shape(1)
    check_rank(call, len(shape) - 2)
    groups, window = int(call.attribute("group", 1)), _window(call, shape[2:])
    if len(shape) < 5:
        plane, output = planar(window), image_output_shape(call)
        x = image(call.builder, call.operand(0))
        if call.constant(1) is not None and is_cheaper(shape[0], groups, plane):
            y = lower_stuffed(call, x, plane, output)
        else:
            y = _transposed(call, x, plane, output)
        call.finish(from_image(call.builder, y, len(shape)))
        return
    x = _depth_in_channels(call, window.along((0,)))
    batch, channels, depth, height, width = call.output_shape()
    y = _transposed(call, x, window.along((1, 2)), (batch * depth, channels, height, width))
    call.finish(unstack(call.builder, y, batch))


def _window(call: Call, kernel: Sequence[int]) -> Window:
    """`begin` holds the rows and columns dropped before the output, by the formulas of the ONNX
    specification; what is dropped after it follows from the output's shape."""
    rank, spatial, output = len(kernel), call.shape()[2:], call.output_shape()[2:]
    strides = tuple(call.attribute("strides") or [1] * rank)
    dilations = tuple(call.attribute("dilations") or [1] * rank)
    extra = call.attribute("output_padding") or [0] * rank
    auto_pad = call.attribute("auto_pad", "NOTSET")
    begin = [0] * rank
    if auto_pad.startswith("SAME") and any(extra):
        raise call.refuse(
            f"auto_pad {auto_pad} with output_padding has another shape in each runtime",
            "Export the model with explicit padding.",
        )
    if auto_pad == "NOTSET" and call.attribute("output_shape") is None:
        begin = list(call.attribute("pads") or [0] * 2 * rank)[:rank]
    elif auto_pad != "VALID":
        for axis in range(rank):
            extent = (kernel[axis] - 1) * dilations[axis] + 1
            full = (spatial[axis] - 1) * strides[axis] + extra[axis] + extent
            total = max(full - output[axis], 0)
            begin[axis] = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
    return Window(tuple(kernel), strides, dilations, tuple(begin), (0,) * rank)


def _depth_in_channels(call: Call, window: Window) -> Value:
    """Case 5: the images to convolve; tap `t` of the window is slice `t`."""
    builder, depth = call.builder, call.output_shape()[2]
    (stride,), (dilation,), (crop,) = window.strides, window.dilations, window.begin
    x = stuff_depth(builder, builder.reorder(call.operand(0), NDHWC), stride)
    reach = window.extent[0] - 1
    x = pad_depth(builder, x, reach - crop, crop + depth - x.shape[2])
    starts = [reach - tap * dilation for tap in range(window.kernel[0])]
    return stack_taps(builder, x, int(call.attribute("group", 1)), starts, 1, depth)


def _transposed(call: Call, x: Value, window: Window, output: tuple[int, int, int, int]) -> Value:
    """Cases 1 to 4: NHWC to NHWC, not finished."""
    spread = tuple(
        max(extent, crop + out - (count - 1) * stride)
        for extent, crop, out, count, stride in zip(
            window.extent, window.begin, output[2:], x.shape[2:], window.strides, strict=True
        )
    )
    parameters = _parameters(call, window, spread, output[1])
    solid = Window(spread, window.strides, (1, 1), window.begin, (0, 0))
    return _write(call, x, parameters, solid, output)


def _parameters(call: Call, window: Window, spread: Dims, channels: int) -> tuple[Tensor, Tensor]:
    groups = int(call.attribute("group", 1))
    if call.constant(1) is not None:
        if groups > 1:
            call.note(
                "dense-groups",
                f"its {groups} groups are computed as one dense kernel",
                "TFLite has no grouped transposed convolution.",
            )
        arrange = partial(_to_dense, dilations=window.dilations, spread=spread, groups=groups)
        return weight_tensors(call, arrange, 1, 0, channels)
    if groups > 1 or spread != window.kernel or len(call.shape(1)) == 5:
        raise call.refuse(
            "its computed weights would have to be spread out",
            "Make the weights constant, or use one group without dilations and output_padding.",
        )
    kernel = call.operand(1)
    ordered = call.builder.reorder(kernel, (1, *range(2, kernel.rank), 0))
    shape = (channels, *spread, kernel.shape[0])
    return call.builder.reshape(ordered.tensor, shape), computed_bias(call, channels)


def _to_dense(kernel: Array, *, dilations: Dims, spread: Dims, groups: int) -> Array:
    """(I, O of a group, [D, [H,]] W) to (O of all groups, H, W, D * I).

    Zeros stand between the elements (dilation), after them (up to `spread`), and between groups.
    """
    inputs, per_group = kernel.shape[:2]
    depth, height, width = [1, 1, *kernel.shape[2:]][-3:]
    split = kernel.reshape(groups, inputs // groups, per_group, depth, height, width)
    rows = split.transpose(0, 3, 1, 2, 4, 5)  # channels of a group innermost, as they are stacked
    step = depth * inputs // groups
    dense = np.zeros((groups * step, groups * per_group, *spread), kernel.dtype)
    ends = [(size - 1) * d + 1 for size, d in zip((height, width), dilations, strict=True)]
    for group in range(groups):
        outputs = slice(group * per_group, (group + 1) * per_group)
        block = dense[group * step : (group + 1) * step, outputs]
        block[:, :, : ends[0] : dilations[0], : ends[1] : dilations[1]] = rows[group].reshape(
            step, per_group, height, width
        )
    return dense.transpose(1, 2, 3, 0)


def _write(
    call: Call,
    x: Value,
    parameters: tuple[Tensor, Tensor],
    window: Window,
    output: tuple[int, int, int, int],
) -> Value:
    builder = call.builder
    weights, bias = parameters
    fused = call.fused_activation()
    batch, channels, height, width = output
    full = tuple(
        (size - 1) * stride + kernel
        for size, stride, kernel in zip(x.shape[2:], window.strides, window.kernel, strict=True)
    )
    same = _same_crop(x.shape[2:], window, full, output[2:])
    shape = output if same else (batch, channels, *full)
    y = call.write(
        "TRANSPOSE_CONV",
        [builder.ints([shape[axis] for axis in NHWC]), weights, x, bias],
        NHWC,
        shape=shape,
        version=_ACTIVATION_VERSION if fused else _BIAS_VERSION,
        padding=SAME if same else VALID,
        strideH=window.strides[0],
        strideW=window.strides[1],
        fusedActivationFunction=fused,
    )
    if shape == output:
        return y
    size = [batch, height, width, channels]
    begin = builder.ints([0, *window.begin, 0])
    return builder.like("SLICE", [y, begin, builder.ints(size)], y, shape=size)


def _same_crop(spatial: Dims, window: Window, full: Dims, output: Dims) -> bool:
    """Whether SAME drops exactly the rows and columns that ONNX drops."""
    return all(
        out == size * stride and total - out >= 0 and (total - out) // 2 == begin
        for size, stride, total, out, begin in zip(
            spatial, window.strides, full, output, window.begin, strict=True
        )
    )
