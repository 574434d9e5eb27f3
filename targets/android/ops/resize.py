"""Resize and Upsample, nearest and linear, along any axes.

The coordinates follow the ONNX Resize specification: position `i` of the output lies at
  half_pixel           (i + 0.5) / scale - 0.5
  pytorch_half_pixel   the same, 0 where the output has one element
  align_corners        i * (in - 1) / (out - 1)
  asymmetric           i / scale
TFLite knows half-pixel, corner-aligned and asymmetric coordinates with scale = out / in, over
height and width.
  1. nearest: RESIZE_NEAREST_NEIGHBOR where its indices are those of ONNX, else GATHER per axis
  2. linear: RESIZE_BILINEAR where its weights are those of ONNX, else (float only) a product with
     the interpolation matrix per axis
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import NHWC, Value, identity
from edgewise.targets.android.model import Array
from edgewise.targets.android.ops.pad import gather_axis
from edgewise.targets.android.ops.spatial import from_image, image, image_output_shape

#: (alignCorners, halfPixelCenters) that the kernels offer
_OPTIONS = ((False, True), (False, False), (True, False))
_HALF_PIXEL_VERSION = 3
_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis to resize; `scale` is what the node says, which may differ from after / before."""

    axis: int
    before: int
    after: int
    scale: float


def resize_obstacle(call: Call) -> str | None:
    if call.attribute("mode", "nearest") == "nearest":
        return None
    if _kernel_options(call, _axes(call), _linear_matrix_of_kernel, _linear_matrix) is None:
        return "TFLite's bilinear kernel does not sample where ONNX does"
    return None


def lower_resize(call: Call) -> None:
    mode = call.attribute("mode", "nearest")
    if mode not in ("nearest", "linear") or call.attribute("antialias", 0):
        raise call.refuse(
            f"mode '{mode}'{' with antialias' * bool(call.attribute('antialias', 0))} has no form",
            "Use nearest or linear without antialias.",
        )
    axes = _axes(call)
    nearest = mode == "nearest"
    reference, kernel = (
        (_nearest_indices, _nearest_indices_of_kernel)
        if nearest
        else (_linear_matrix, _linear_matrix_of_kernel)
    )
    options = _kernel_options(call, axes, kernel, reference)
    if options is not None:
        call.finish(_with_kernel(call, nearest, options))
        return
    x = call.operand(0)
    for axis in axes:
        if nearest:
            x = gather_axis(call, x, axis.axis, _nearest_indices(call, axis))
        else:
            x = _multiply(call, x, axis.axis, _linear_matrix(call, axis))
    call.finish(x)


def _axes(call: Call) -> list[_Axis]:
    """The axes whose size or scale differs from one."""
    before, after = call.shape(), call.output_shape()
    chosen = [int(a) % len(before) for a in call.attribute("axes") or range(len(before))]
    given = call.constant(_scales_index(call)) if call.has(_scales_index(call)) else None
    found = []
    for position, axis in enumerate(chosen):
        scale = after[axis] / before[axis]
        if given is not None and given.size:
            scale = float(given[position])
        if scale != 1.0 or before[axis] != after[axis]:
            found.append(_Axis(axis, before[axis], after[axis], scale))
    supported = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    if _coordinates(call) not in supported:
        raise call.refuse(
            f"its coordinates are '{_coordinates(call)}'", f"Use {', '.join(supported)}."
        )
    return found


def _scales_index(call: Call) -> int:
    return 1 if call.op_type == "Upsample" else 2


def _coordinates(call: Call) -> str:
    default = "asymmetric" if call.op_type == "Upsample" else "half_pixel"
    return str(call.attribute("coordinate_transformation_mode", default))


def _positions(call: Call, axis: _Axis) -> Array:
    """Where each output element lies on the input's axis; in float32, as ONNX Runtime has it,
    because `nearest` depends on how a position just between two elements is rounded."""
    index = np.arange(axis.after, dtype=np.float32)
    scale, half = np.float32(axis.scale), np.float32(0.5)
    coordinates = _coordinates(call)
    positions: Array = (index + half) / scale - half
    if coordinates == "align_corners":
        positions = index * np.float32(axis.before - 1) / np.float32(max(axis.after - 1, 1))
    elif coordinates == "asymmetric":
        positions = index / scale
    elif coordinates == "pytorch_half_pixel" and axis.after == 1:
        positions = np.zeros(1, np.float32)
    return positions


def _nearest_indices(call: Call, axis: _Axis) -> Array:
    positions = _positions(call, axis)
    default = "floor" if call.op_type == "Upsample" else "round_prefer_floor"
    mode = call.attribute("nearest_mode", default)
    if mode == "floor":
        rounded = np.floor(positions)
    elif mode == "ceil":
        rounded = np.ceil(positions)
    elif mode == "round_prefer_ceil":
        rounded = np.floor(positions + 0.5)
    else:
        rounded = np.ceil(positions - 0.5)
    return np.clip(rounded, 0, axis.before - 1).astype(np.int64)


def _nearest_indices_of_kernel(axis: _Axis, align: bool, half: bool) -> Array:
    index = np.arange(axis.after, dtype=np.float32)
    rounded: Array
    if align and axis.after > 1:
        scale = np.float32(axis.before - 1) / np.float32(axis.after - 1)
        rounded = np.floor(index * scale + np.float32(0.5))
    else:
        scale = np.float32(axis.before) / np.float32(axis.after)
        rounded = np.floor((index + np.float32(0.5 if half else 0.0)) * scale)
    return np.clip(rounded, 0, axis.before - 1).astype(np.int64)


def _linear_matrix(call: Call, axis: _Axis) -> Array:
    return _interpolation(_positions(call, axis), axis)


def _linear_matrix_of_kernel(axis: _Axis, align: bool, half: bool) -> Array:
    index = np.arange(axis.after, dtype=np.float64)
    if align and axis.after > 1:
        return _interpolation(index * (axis.before - 1) / (axis.after - 1), axis)
    scale = axis.before / axis.after
    return _interpolation((index + 0.5) * scale - 0.5 if half else index * scale, axis)


def _interpolation(positions: Array, axis: _Axis) -> Array:
    """Rows of weights (out, in): a position between two elements shares its weight."""
    clipped = np.clip(positions, 0, axis.before - 1)
    low = np.floor(clipped).astype(np.int64)
    high = np.minimum(low + 1, axis.before - 1)
    share = clipped - low
    matrix = np.zeros((axis.after, axis.before))
    rows = np.arange(axis.after)
    np.add.at(matrix, (rows, low), 1 - share)
    np.add.at(matrix, (rows, high), share)
    return matrix


def _kernel_options(
    call: Call, axes: list[_Axis], kernel: Any, reference: Any
) -> tuple[bool, bool] | None:
    """Options with which the TFLite kernel samples as ONNX does; None when there are none."""
    rank = len(call.shape())
    if rank not in (3, 4) or any(axis.axis < 2 for axis in axes):
        return None
    spatial = {axis.axis: axis for axis in axes}
    for align, half in _OPTIONS:
        if all(
            np.allclose(kernel(axis, align, half), reference(call, axis), rtol=0, atol=_TOLERANCE)
            for axis in spatial.values()
        ):
            return align, half
    return None


def _with_kernel(call: Call, nearest: bool, options: tuple[bool, bool]) -> Value:
    x = image(call.builder, call.operand(0))
    batch, channels, height, width = image_output_shape(call)
    align, half = options
    y = call.builder.like(
        "RESIZE_NEAREST_NEIGHBOR" if nearest else "RESIZE_BILINEAR",
        [x, call.builder.ints([height, width])],
        x,
        shape=[batch, height, width, channels],
        version=_HALF_PIXEL_VERSION if half or align else None,
        alignCorners=align,
        halfPixelCenters=half,
    )
    return from_image(call.builder, y, len(call.output_shape()))


def _multiply(call: Call, x: Value, axis: int, matrix: Array) -> Value:
    """The matrix times the values along one axis: axes before it are the batch, those after it
    the columns, so that no transpose is needed."""
    builder = call.builder
    physical = x.axis(axis)
    shape = x.tensor.shape
    batch, columns = int(np.prod(shape[:physical])), int(np.prod(shape[physical + 1 :]))
    flat = Value(builder.reshape(x.tensor, (batch, shape[physical], columns)), identity(3))
    left = builder.constant(matrix.astype(np.float32)[None])
    rows = matrix.shape[0]
    product = builder.like(
        "BATCH_MATMUL", [left, flat], flat, shape=(batch, rows, columns), adjX=False, adjY=False
    )
    out = (*shape[:physical], rows, *shape[physical + 1 :])
    return Value(builder.reshape(product.tensor, out), x.perm)


def lower_depth_to_space(call: Call) -> None:
    """DCR order is TFLite's; CRD needs its channels regrouped first."""
    x = call.builder.reorder(call.operand(0), NHWC)
    block = int(call.attribute("blocksize"))
    if call.attribute("mode", "DCR") == "CRD":
        x = _regrouped(call, x, block)
    call.finish(call.write_like("DEPTH_TO_SPACE", [x], x, NHWC, blockSize=block))


def _regrouped(call: Call, x: Value, block: int) -> Value:
    """Channel (c, i, j) becomes channel (i, j, c)."""
    builder = call.builder
    batch, height, width, channels = x.tensor.shape
    inner = channels // block**2
    split = builder.reshape(x.tensor, (batch * height * width, inner, block**2))
    turned = builder.add(
        "TRANSPOSE",
        [split, builder.ints([0, 2, 1])],
        (split.shape[0], block**2, inner),
        split.dtype,
        split.quantization,
    )
    return Value(builder.reshape(turned, x.tensor.shape), NHWC)


def lower_space_to_depth(call: Call) -> None:
    x = call.builder.reorder(call.operand(0), NHWC)
    block = int(call.attribute("blocksize"))
    call.finish(call.write_like("SPACE_TO_DEPTH", [x], x, NHWC, blockSize=block))
