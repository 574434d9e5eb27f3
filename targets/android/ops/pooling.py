"""MaxPool, AveragePool, GlobalMaxPool and GlobalAveragePool, over any number of axes.

More than two axes are pooled two at a time, and dilated windows are gathered first: see
`pool_window`. Of a pass over two axes:
MaxPool:
  1. padding as TFLite's SAME, or none     MAX_POOL_2D
  2. any other, ceil_mode included         PADV2 with the lowest value, then MAX_POOL_2D
  3. the indices are used                  see `pool_indices`
AveragePool (SAME divides by the elements inside the image, VALID by the window):
  4. SAME, pads not counted                AVERAGE_POOL_2D SAME
  5. the window is the whole image         MEAN
  6. every window counts all its elements  PAD, AVERAGE_POOL_2D VALID; int8: `mean_convolution`
  7. some windows count fewer, float       as 6, then a MUL by `window / counted`
  8. some windows count fewer, integers    as 6 in blocks of equal count, see `average_blocks`
Case 4 is not for int8: the blocks of case 8 are faster.
Global pools are MEAN and REDUCE_MAX over all spatial axes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from edgewise.targets.android.call import NO_ACTIVATION, Call
from edgewise.targets.android.layout import Value
from edgewise.targets.android.model import Array
from edgewise.targets.android.ops.average_blocks import MOST_BLOCKS, average_blocks, count_blocks
from edgewise.targets.android.ops.mean_convolution import mean_by_convolution
from edgewise.targets.android.ops.pool_indices import lower_max_pool_with_indices
from edgewise.targets.android.ops.pool_window import (
    Plane,
    planes,
    pool_by_planes,
    pool_window,
    undilated,
    window_elements,
)
from edgewise.targets.android.ops.spatial import (
    SAME,
    VALID,
    channels_last,
    fit_padding,
    is_same,
    needed_end,
    pad_image,
)

_LOWEST = float(np.finfo(np.float32).min)
_RAW_INT8_VERSION = 2
#: each pass rounds by half a step, so two differ by one step at most from the exact mean
_MOST_INT8_PASSES = 2


def lower_max_pool(call: Call) -> None:
    """Cases 1 to 3."""
    if len(call.node.outputs) > 1 and _is_read(call, 1):
        lower_max_pool_with_indices(call)
        return
    call.finish(pool_by_planes(call, partial(_max, call)))


def _is_read(call: Call, index: int) -> bool:
    output = call.node.outputs[index]
    return bool(output.uses()) or output.is_graph_output()


def _max(call: Call, x: Value, plane: Plane) -> Value:
    x, plane = undilated(call.builder, x, plane, _LOWEST)
    x, padding = fit_padding(call.builder, x, plane.window, plane.output, fill=_LOWEST)
    return _pool(call, "MAX_POOL_2D", x, plane, padding)


def _pool(call: Call, kind: str, x: Value, plane: Plane, padding: int) -> Value:
    batch, channels = x.shape[:2]
    return call.builder.like(
        kind,
        [x],
        x,
        shape=[batch, *plane.output, channels],
        version=_RAW_INT8_VERSION if x.dtype == np.int8 and x.quantization is None else None,
        padding=padding,
        strideH=plane.window.strides[0],
        strideW=plane.window.strides[1],
        filterHeight=plane.window.kernel[0],
        filterWidth=plane.window.kernel[1],
        fusedActivationFunction=NO_ACTIVATION,
    )


def average_pool_int8_obstacle(call: Call) -> str | None:
    found = planes(call)
    if len(found) > _MOST_INT8_PASSES:
        return "its window has so many axes that rounding after each pair adds up"
    for plane in found:
        if (_correction(call, plane) == 1).all():
            continue
        blocks = count_blocks(plane, _counts_pads(call))
        if plane.window.is_dilated or blocks > MOST_BLOCKS:
            return "its windows at the border count fewer elements than TFLite divides by"
    return None


def lower_average_pool(call: Call) -> None:
    """Cases 4 to 8."""
    window = pool_window(call)
    covers = window.kernel == call.shape()[2:] and not window.is_padded and not window.is_dilated
    if covers and set(call.output_shape()[2:]) == {1}:
        perm = channels_last(len(call.shape()))
        x = call.builder.reorder(call.operand(0), perm)
        axes = call.builder.ints(list(range(1, x.rank - 1)))
        call.finish(call.write("MEAN", [x, axes], perm, keepDims=True))
        return
    call.finish(pool_by_planes(call, partial(_average, call)))


def _average(call: Call, x: Value, plane: Plane) -> Value:
    folded = x.shape[1] != call.shape()[1]  # axes in the channels would multiply the weights
    if x.dtype == np.int8 and not folded:
        return _int8_average(call, x, plane)
    if _is_same_average(call, plane):
        return _pool(call, "AVERAGE_POOL_2D", x, plane, SAME)
    builder, factors = call.builder, _correction(call, plane)
    corrected = bool((factors != 1).any())
    if corrected and x.dtype.kind == "i":
        return average_blocks(builder, x, plane, partial(_mean, call), _counts_pads(call))
    x, plane = undilated(builder, x, plane, None)
    end = needed_end(plane.window, plane.size, plane.output)
    if any(plane.window.begin) or any(end):
        x = pad_image(builder, x, plane.window.begin, end)
    y = _mean(call, x, plane)
    if corrected:
        tensor = builder.constant(factors[None, :, :, None])
        y = builder.like("MUL", [y, tensor], y, fusedActivationFunction=NO_ACTIVATION)
    return y


def _mean(call: Call, x: Value, plane: Plane) -> Value:
    return _pool(call, "AVERAGE_POOL_2D", x, plane, VALID)


def _int8_average(call: Call, x: Value, plane: Plane) -> Value:
    """Cases 6 and 8 in int8."""
    builder = call.builder
    if (_correction(call, plane) != 1).any():
        mean = partial(mean_by_convolution, builder, padding=VALID)
        return average_blocks(builder, x, plane, mean, _counts_pads(call))
    x, padding = fit_padding(builder, x, plane.window, plane.output)
    return mean_by_convolution(builder, x, plane, padding)


def _is_same_average(call: Call, plane: Plane) -> bool:
    """Case 4: SAME pads alike, and no window counts an element outside the image."""
    window = replace(plane.window, end=needed_end(plane.window, plane.size, plane.output))
    if window.is_dilated or not window.is_padded or not is_same(window, plane.size, plane.output):
        return False
    return not _counts_pads(call) or not plane.window.is_padded


def _counts_pads(call: Call) -> bool:
    return bool(call.attribute("count_include_pad", 0))


def _correction(call: Call, plane: Plane) -> Array:
    """`window elements / counted elements` for each output position, float32 (height, width).

    Counted are the elements of the image, and those of the explicit pads with count_include_pad;
    never what ceil_mode adds beyond them.
    """
    window, counts = plane.window, []
    for axis in (0, 1):
        taps = window_elements(window, axis, plane.output[axis])
        low, high = 0, plane.size[axis]
        if _counts_pads(call):
            low, high = -window.begin[axis], high + window.end[axis]
        inside = ((taps >= low) & (taps < high)).sum(axis=1)
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
