"""MaxPool, AveragePool, GlobalMaxPool and GlobalAveragePool, one- and two-dimensional.

MaxPool:
  1. padding as TFLite's SAME, or none     MAX_POOL_2D
  2. any other, ceil_mode included         PADV2 with the lowest value, then MAX_POOL_2D
AveragePool (SAME divides by the elements inside the image, VALID by the window):
  3. SAME, pads not counted                AVERAGE_POOL_2D SAME
  4. the window is the whole image         MEAN
  5. any other                             PAD, AVERAGE_POOL_2D VALID, and where some windows count
                                           fewer elements a MUL by `window / counted` (float only)
Global pools are MEAN and REDUCE_MAX over height and width.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgewise.targets.android.call import NO_ACTIVATION, Call
from edgewise.targets.android.layout import NHWC, Value
from edgewise.targets.android.model import Array
from edgewise.targets.android.ops.spatial import (
    SAME,
    VALID,
    Window,
    fit_padding,
    from_image,
    image,
    image_output_shape,
    is_same,
    needed_end,
    pad_image,
    read_window,
)

_LOWEST = float(np.finfo(np.float32).min)


def lower_max_pool(call: Call) -> None:
    """Cases 1 and 2."""
    if len(call.node.outputs) > 1 and call.node.outputs[1].uses():
        raise call.refuse("its indices are used", "Use the values of MaxPool only.")
    window = _undilated_window(call)
    output = image_output_shape(call)
    x = image(call.builder, call.operand(0))
    x, padding = fit_padding(call.builder, x, window, output[2:], fill=_LOWEST)
    call.finish(
        from_image(
            call.builder, _pool(call, "MAX_POOL_2D", x, window, padding), len(call.output_shape())
        )
    )


def average_pool_int8_obstacle(call: Call) -> str | None:
    window, output = _undilated_window(call), image_output_shape(call)
    spatial = (1, *call.shape()[2:])[-2:]
    if _is_same_average(call, window, spatial, output[2:]):
        return None
    if (_correction(call, window, spatial, output[2:]) != 1).any():
        return "its windows at the border count fewer elements than TFLite divides by"
    return None


def lower_average_pool(call: Call) -> None:
    """Cases 3 to 5."""
    window, output = _undilated_window(call), image_output_shape(call)
    x = image(call.builder, call.operand(0))
    spatial = x.shape[2:]
    unpadded = window.begin == window.end == (0, 0)
    if unpadded and window.kernel == spatial and output[2:] == (1, 1):
        axes = call.builder.ints([1, 2])
        y = call.write("MEAN", [x, axes], NHWC, shape=output, keepDims=True)
    elif _is_same_average(call, window, spatial, output[2:]):
        y = _pool(call, "AVERAGE_POOL_2D", x, window, SAME)
    else:
        end = needed_end(window, spatial, output[2:])
        if window.begin != (0, 0) or end != (0, 0):
            x = pad_image(call.builder, x, window.begin, end)
        y = _pool(call, "AVERAGE_POOL_2D", x, window, VALID)
        factors = _correction(call, window, spatial, output[2:])
        if (factors != 1).any():
            tensor = call.builder.constant(factors[None, :, :, None])
            y = call.builder.like("MUL", [y, tensor], y, fusedActivationFunction=NO_ACTIVATION)
    call.finish(from_image(call.builder, y, len(call.output_shape())))


def _undilated_window(call: Call) -> Window:
    window = read_window(call, call.attribute("kernel_shape"))
    if window.dilations != (1, 1):
        raise call.refuse("TFLite pools have no dilation", "Use a pool without dilations.")
    spatial, output = (1, *call.shape()[2:])[-2:], image_output_shape(call)[2:]
    for axis in (0, 1):
        last = (output[axis] - 1) * window.strides[axis]
        if output[axis] > 1 and last >= spatial[axis] + window.begin[axis]:
            raise call.refuse(  # ONNX shape inference counts such a window, ONNX Runtime does not
                "its last window lies in the padding only", "Use ceil_mode=0 or less padding."
            )
    return window


def _pool(call: Call, kind: str, x: Value, window: Window, padding: int) -> Value:
    batch, channels, height, width = image_output_shape(call)
    return call.builder.like(
        kind,
        [x],
        x,
        shape=[batch, height, width, channels],
        padding=padding,
        strideH=window.strides[0],
        strideW=window.strides[1],
        filterHeight=window.kernel[0],
        filterWidth=window.kernel[1],
        fusedActivationFunction=NO_ACTIVATION,
    )


def _is_same_average(
    call: Call, window: Window, spatial: tuple[int, ...], output: tuple[int, ...]
) -> bool:
    """Case 3: SAME pads alike, and no window counts an element outside the image."""
    trimmed = replace(window, end=needed_end(window, spatial, output))
    if trimmed.begin == trimmed.end == (0, 0) or not is_same(trimmed, spatial, output):
        return False
    return not _counts_pads(call) or window.begin == window.end == (0, 0)


def _counts_pads(call: Call) -> bool:
    return bool(call.attribute("count_include_pad", 0))


def _correction(
    call: Call, window: Window, spatial: tuple[int, ...], output: tuple[int, ...]
) -> Array:
    """`window elements / counted elements` for each output position, float32 (height, width).

    Counted are the elements of the image, and those of the explicit pads with count_include_pad;
    never what ceil_mode adds beyond them.
    """
    counts = []
    for axis in (0, 1):
        starts = np.arange(output[axis]) * window.strides[axis] - window.begin[axis]
        low, high = 0, spatial[axis]
        if _counts_pads(call):
            low, high = -window.begin[axis], high + window.end[axis]
        inside = np.minimum(starts + window.kernel[axis], high) - np.maximum(starts, low)
        counts.append(np.maximum(inside, 1))
    elements = window.kernel[0] * window.kernel[1]
    factors: Array = elements / (counts[0][:, None] * counts[1][None, :])
    return factors.astype(np.float32)


def lower_global_pool(call: Call) -> None:
    x = call.operand(0)
    spatial = range(2, x.rank)
    axes = call.builder.ints(sorted(x.axis(axis) for axis in spatial))
    if call.op_type == "GlobalAveragePool":
        y = call.write("MEAN", [x, axes], x.perm, keepDims=True)
    else:
        y = call.write_like("REDUCE_MAX", [x, axes], x, x.perm, keepDims=True)
    call.finish(y)
