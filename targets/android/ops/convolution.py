"""Conv and ConvTranspose, one- and two-dimensional.

Conv:
  1. one group                      CONV_2D, weights OHWI
  2. as many groups as channels     DEPTHWISE_CONV_2D, weights 1HWO
  3. other groups                   CONV_2D version 6, weights OHWI with the channels of one group
ConvTranspose:
  4. TRANSPOSE_CONV with SAME padding where it crops as ONNX does, else VALID and a SLICE
  5. groups                         weights spread over a dense block-diagonal kernel
  6. dilations, output_padding      zeros between and after the kernel's elements
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import NHWC, Value
from edgewise.targets.android.model import Array, Tensor
from edgewise.targets.android.ops.spatial import (
    SAME,
    VALID,
    Pair,
    Window,
    fit_padding,
    from_image,
    image,
    image_output_shape,
    read_window,
)
from edgewise.targets.android.ops.weights import int8_obstacle, weight_tensors

_GROUPED_VERSION = 6
_TRANSPOSED_BIAS_VERSION, _TRANSPOSED_ACTIVATION_VERSION = 3, 4


def conv_int8_obstacle(call: Call) -> str | None:
    return int8_obstacle(call, channel_axis=0, channels=call.shape(1)[0])


def lower_conv(call: Call) -> None:
    """Cases 1 to 3."""
    shape = call.known(1, "weights").shape
    window = read_window(call, shape[2:])
    channels, groups = shape[0], int(call.attribute("group", 1))
    depthwise = groups > 1 and shape[1] == 1
    x = image(call.builder, call.operand(0))
    output = image_output_shape(call)
    x, padding = fit_padding(call.builder, x, window, output[2:])
    arrange = _to_depthwise if depthwise else _to_ohwi
    weights, bias = weight_tensors(call, arrange, 0, 3 if depthwise else 0, channels)
    options: dict[str, Any] = {
        "padding": padding,
        "strideH": window.strides[0],
        "strideW": window.strides[1],
        "dilationHFactor": window.dilations[0],
        "dilationWFactor": window.dilations[1],
        "fusedActivationFunction": call.fused_activation(),
    }
    if depthwise:
        kind, version = "DEPTHWISE_CONV_2D", None
        options["depthMultiplier"] = channels // groups
    else:
        kind, version = "CONV_2D", _GROUPED_VERSION if groups > 1 else None
    y = call.write(kind, [x, weights, bias], NHWC, shape=output, version=version, **options)
    call.finish(from_image(call.builder, y, len(shape)))


def _as_2d(kernel: Array) -> Array:
    return kernel if kernel.ndim == 4 else kernel[:, :, None, :]


def _to_ohwi(kernel: Array) -> Array:
    return _as_2d(kernel).transpose(0, 2, 3, 1)


def _to_depthwise(kernel: Array) -> Array:
    return _as_2d(kernel).transpose(1, 2, 3, 0)


def conv_transpose_int8_obstacle(call: Call) -> str | None:
    found = call.quantized_constant(1)
    if call.attribute("group", 1) > 1 and found is not None and not found[1].per_tensor:
        return "its grouped weights have one scale per channel of a group"
    return int8_obstacle(call, channel_axis=1, channels=call.output_shape()[1])


def lower_conv_transpose(call: Call) -> None:
    """Cases 4 to 6."""
    shape = call.known(1, "weights").shape
    if len(shape) not in (3, 4):
        raise call.refuse(
            f"it slides over {len(shape) - 2} dimensions; TFLite has 1 and 2", "Use a 2-D layer."
        )
    groups = int(call.attribute("group", 1))
    x = image(call.builder, call.operand(0))
    output = image_output_shape(call)
    if groups > 1:
        call.note(
            "dense-groups",
            f"its {groups} groups are computed as one dense kernel",
            "TFLite has no grouped transposed convolution.",
        )
    dilations = _two(call.attribute("dilations") or [1] * (len(shape) - 2), 1)
    strides = _two(call.attribute("strides") or [1] * (len(shape) - 2), 1)
    kernel = _two(shape[2:], 1)
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    begin = _crop_begin(call, x.shape[2:], strides, extent, output[2:])
    wanted = tuple(
        max(size, low + out - (count - 1) * stride)
        for size, low, out, count, stride in zip(
            extent, begin, output[2:], x.shape[2:], strides, strict=True
        )
    )
    parameters = weight_tensors(
        call,
        lambda w: _to_transposed(_spread(_as_2d(w), dilations, wanted), groups),
        1,
        0,
        output[1],
    )
    window = Window((wanted[0], wanted[1]), strides, (1, 1), begin, (0, 0))
    y = _transposed(call, x, parameters, window, output)
    call.finish(from_image(call.builder, y, len(shape)))


def _two(numbers: list[int] | tuple[int, ...], missing: int) -> Pair:
    height, width = [missing, *numbers][-2:]
    return int(height), int(width)


def _crop_begin(
    call: Call,
    spatial: tuple[int, ...],
    strides: Pair,
    extent: tuple[int, ...],
    out: tuple[int, ...],
) -> Pair:
    """Rows and columns dropped before the output, by the formulas of the ONNX specification."""
    auto_pad = call.attribute("auto_pad", "NOTSET")
    rank = len(call.shape()) - 2
    explicit = call.attribute("output_shape") is not None
    if auto_pad == "NOTSET" and not explicit:
        return _two((call.attribute("pads") or [0] * 2 * rank)[:rank], 0)
    if auto_pad == "VALID":
        return 0, 0
    extra = _two(call.attribute("output_padding") or [0] * rank, 0)
    begin = []
    for axis in (0, 1):
        total = (spatial[axis] - 1) * strides[axis] + extra[axis] + extent[axis] - out[axis]
        total = max(total, 0)
        begin.append(total // 2 if auto_pad == "SAME_UPPER" else total - total // 2)
    return begin[0], begin[1]


def _spread(kernel: Array, dilations: Pair, wanted: tuple[int, ...]) -> Array:
    """Zeros between the elements (dilation) and after them (up to the wanted extent)."""
    out = np.zeros((*kernel.shape[:2], *wanted), kernel.dtype)
    height, width = ((k - 1) * d + 1 for k, d in zip(kernel.shape[2:], dilations, strict=True))
    out[:, :, : height : dilations[0], : width : dilations[1]] = kernel
    return out


def _to_transposed(kernel: Array, groups: int) -> Array:
    """IOHW (outputs of one group) to OHWI (all outputs), zero between groups."""
    inputs, per_group, height, width = kernel.shape
    dense = np.zeros((inputs, per_group * groups, height, width), kernel.dtype)
    step = inputs // groups
    for group in range(groups):
        rows = slice(group * step, (group + 1) * step)
        dense[rows, group * per_group : (group + 1) * per_group] = kernel[rows]
    return dense.transpose(1, 2, 3, 0)


def _transposed(
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
        version=_TRANSPOSED_ACTIVATION_VERSION if fused else _TRANSPOSED_BIAS_VERSION,
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


def _same_crop(
    spatial: tuple[int, ...], window: Window, full: tuple[int, ...], output: tuple[int, ...]
) -> bool:
    """Whether SAME drops exactly the rows and columns that ONNX drops."""
    return all(
        out == size * stride and total - out >= 0 and (total - out) // 2 == begin
        for size, stride, total, out, begin in zip(
            spatial, window.strides, full, output, window.begin, strict=True
        )
    )
