"""Resize and Upsample: every mode, along any axes.

Positions are known in advance, so each axis is a fixed choice of elements or a fixed matrix (see
`edgewise.graph.interpolation`), and axes are resized two by two, or one by one:
  1. nearest: RESIZE_NEAREST_NEIGHBOR where its indices are those of ONNX, else GATHER
  2. linear: RESIZE_BILINEAR where its weights are those of ONNX, else as 3
  3. linear, cubic, antialiased: BATCH_MATMUL with the matrix of the axis (float only)
TFLite knows half-pixel, corner-aligned and asymmetric coordinates with scale = after / before.
  4. tf_crop_and_resize: what lies outside the input is replaced by SELECT_V2
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgewise.graph.interpolation import (
    COORDINATES,
    Axis,
    ambiguity,
    cubic_kernel,
    linear_kernel,
    matrix,
    nearest_indices,
    outside,
    positions,
)
from edgewise.targets.android.builder import FLOAT32
from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import NHWC, Value, identity
from edgewise.targets.android.model import Array
from edgewise.targets.android.ops.pool_window import gather
from edgewise.targets.android.ops.spatial import channels_last

_NEAREST, _BILINEAR = "RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"
#: (alignCorners, halfPixelCenters) that the kernels offer
_OPTIONS = ((False, True), (False, False), (True, False))
_HALF_PIXEL_VERSION = 3
_TOLERANCE = 1e-5
#: each pass rounds by half a step, so two differ by one step at most
_MOST_INT8_PASSES = 2
_KERNEL_DTYPES = ("float32", "int8", "int16", "uint8")
_BOOL = np.dtype(np.bool_)

#: physical axes of one pass; None for a height of 1
_Pass = tuple[int | None, int]


@dataclass(frozen=True, slots=True)
class _Resize:
    """What the node asks for."""

    mode: str
    coordinates: str
    axes: tuple[Axis, ...]
    rounding: str
    cubic_a: float
    antialias: bool
    exclude_outside: bool
    extrapolation: float

    def indices(self, axis: Axis) -> Array:
        return nearest_indices(axis, positions(axis, self.coordinates), self.rounding)

    def matrix(self, axis: Axis) -> Array:
        cubic = self.mode == "cubic"
        return matrix(
            axis,
            positions(axis, self.coordinates),
            cubic_kernel(self.cubic_a) if cubic else linear_kernel,
            2 if cubic else 1,
            antialias=self.antialias,
            exclude_outside=self.exclude_outside and cubic,
        )

    def outside(self, axis: Axis) -> Array:
        if self.coordinates != "tf_crop_and_resize":
            return np.zeros(axis.after, np.bool_)
        return outside(axis, positions(axis, self.coordinates))


def resize_obstacle(call: Call) -> str | None:
    resize = _read(call)
    if any(resize.outside(axis).any() for axis in resize.axes):
        return "what it fills in from outside the image has no integer form"
    if resize.mode == "nearest":
        return None
    value = _operand(call, resize)
    found = list(_passes(resize, value))
    if len(found) > _MOST_INT8_PASSES or any(_options(resize, part) is None for _, part in found):
        return "TFLite's bilinear kernel does not sample where ONNX does"
    return None


def lower_resize(call: Call) -> None:
    resize = _read(call)
    x = _operand(call, resize)
    if resize.mode != "nearest" and x.dtype != FLOAT32 and x.quantization is None:
        raise call.refuse(
            f"interpolating {x.dtype} is rounded differently by each runtime",
            "Cast to float32 before, or use mode nearest.",
        )
    for axes, part in _passes(resize, x):
        x = _pass(call, resize, x, axes, part)
    call.finish(_extrapolated(call, resize, x))


# ---- reading the node


def _read(call: Call) -> _Resize:
    upsample = call.op_type == "Upsample"
    mode = str(call.attribute("mode", "nearest"))
    coordinates = str(
        call.attribute("coordinate_transformation_mode", "asymmetric" if upsample else "half_pixel")
    )
    if mode not in ("nearest", "linear", "cubic") or coordinates not in COORDINATES:
        raise call.refuse(
            f"ONNX has no mode '{mode}' with coordinates '{coordinates}'", "Export the model again."
        )
    return _Resize(
        mode,
        coordinates,
        tuple(_axes(call, coordinates)),
        str(call.attribute("nearest_mode", "floor" if upsample else "round_prefer_floor")),
        float(call.attribute("cubic_coeff_a", -0.75)),
        bool(call.attribute("antialias", 0)),
        bool(call.attribute("exclude_outside", 0)),
        float(call.attribute("extrapolation_value", 0.0)),
    )


def _axes(call: Call, coordinates: str) -> list[Axis]:
    """The axes along which something changes."""
    before, after = call.shape(), call.output_shape()
    chosen = [int(a) % len(before) for a in call.attribute("axes") or range(len(before))]
    scales = _scales(call, [before[axis] for axis in chosen], [after[axis] for axis in chosen])
    regions = [(0.0, 1.0)] * len(chosen)
    if coordinates == "tf_crop_and_resize":
        ends = call.known(1, "region of interest").reshape(2, -1)
        regions = [(float(start), float(end)) for start, end in ends.T]
    found = []
    for axis, scale, region in zip(chosen, scales, regions, strict=True):
        part = Axis(axis, before[axis], after[axis], scale, region)
        if scale != 1.0 or part.before != part.after or region != (0.0, 1.0):
            _check_agreement(call, part, coordinates)
            found.append(part)
    return found


def _scales(call: Call, before: list[int], after: list[int]) -> list[float]:
    """Of the chosen axes: as given, or from the sizes that are asked for."""
    index = 1 if call.op_type == "Upsample" else 2
    given = call.constant(index) if call.has(index) else None
    if given is not None and given.size:
        return [float(scale) for scale in given]
    policy = call.attribute("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return [new / old for old, new in zip(before, after, strict=True)]
    asked = call.known(3, "sizes")
    ratios = [float(size) / old for old, size in zip(before, asked, strict=True)]
    return [min(ratios) if policy == "not_larger" else max(ratios)] * len(ratios)


def _check_agreement(call: Call, axis: Axis, coordinates: str) -> None:
    disagreement = ambiguity(axis, coordinates)
    if disagreement is not None:
        raise call.refuse(*disagreement)


# ---- writing it


def _operand(call: Call, resize: _Resize) -> Value:
    """The input, channels last where an image is resized."""
    x = call.operand(0)
    if x.rank > 2 and all(axis.axis >= 2 for axis in resize.axes):
        return call.builder.reorder(x, channels_last(x.rank))
    return x


def _passes(resize: _Resize, x: Value) -> list[tuple[_Pass, list[Axis]]]:
    """Neighbouring physical axes two by two from the last, with what happens to them."""
    by_place = {x.axis(axis.axis): axis for axis in resize.axes}
    busy, found = sorted(by_place), list[tuple[_Pass, list[Axis]]]()
    while busy:
        last = busy.pop()
        first = busy.pop() if busy and busy[-1] == last - 1 else None
        parts = [by_place[place] for place in (first, last) if place is not None]
        found.append(((first, last), parts))
    return found


def _pass(call: Call, resize: _Resize, x: Value, axes: _Pass, parts: list[Axis]) -> Value:
    options = _options(resize, parts) if x.dtype.name in _KERNEL_DTYPES else None
    if options is not None:
        return _with_kernel(call, resize, x, axes, parts, options)
    if len(parts) == 2:
        for axis, part in zip(axes, parts, strict=True):
            x = _pass(call, resize, x, (None, axis or 0), [part])
        return x
    if resize.mode == "nearest":
        return gather(call.builder, x, axes[1], resize.indices(parts[0]))
    return _multiply(call, x, axes[1], resize.matrix(parts[0]))


def _options(resize: _Resize, parts: list[Axis]) -> tuple[bool, bool] | None:
    """Options with which the TFLite kernel samples as ONNX does; None when there are none."""
    if resize.mode == "cubic":
        return None
    nearest = resize.mode == "nearest"
    for align, half in _OPTIONS:
        kernel = _indices_of_kernel if nearest else _matrix_of_kernel
        wanted = resize.indices if nearest else resize.matrix
        pairs = [(kernel(axis, align, half), wanted(axis)) for axis in parts]
        if all(np.allclose(found, right, rtol=0, atol=_TOLERANCE) for found, right in pairs):
            return align, half
    return None


def _indices_of_kernel(axis: Axis, align: bool, half: bool) -> Array:
    index = np.arange(axis.after, dtype=np.float32)
    rounded: Array
    if align and axis.after > 1:
        scale = np.float32(axis.before - 1) / np.float32(axis.after - 1)
        rounded = np.floor(index * scale + np.float32(0.5))
    else:
        scale = np.float32(axis.before) / np.float32(axis.after)
        rounded = np.floor((index + np.float32(0.5 if half else 0.0)) * scale)
    return np.clip(rounded, 0, axis.before - 1).astype(np.int64)


def _matrix_of_kernel(axis: Axis, align: bool, half: bool) -> Array:
    index = np.arange(axis.after, dtype=np.float64)
    scale = axis.before / axis.after
    where: Array = (index + 0.5) * scale - 0.5 if half else index * scale
    if align and axis.after > 1:
        where = index * (axis.before - 1) / (axis.after - 1)
    return matrix(axis, where, linear_kernel, 1)


def _with_kernel(
    call: Call,
    resize: _Resize,
    x: Value,
    axes: _Pass,
    parts: list[Axis],
    options: tuple[bool, bool],
) -> Value:
    builder, (align, half), shape = call.builder, options, x.tensor.shape
    first, last = axes[1] if axes[0] is None else axes[0], axes[1]
    lead, tail = math.prod(shape[:first]), math.prod(shape[last + 1 :])
    height = 1 if axes[0] is None else shape[first]
    image = Value(builder.reshape(x.tensor, (lead, height, shape[last], tail)), NHWC)
    size = [1, *(part.after for part in parts)][-2:]
    y = builder.like(
        _NEAREST if resize.mode == "nearest" else _BILINEAR,
        [image, builder.ints(size)],
        image,
        shape=[lead, *size, tail],
        version=_HALF_PIXEL_VERSION if half or align else None,
        alignCorners=align,
        halfPixelCenters=half,
    )
    after = [part.after for part in parts]
    return Value(builder.reshape(y.tensor, (*shape[:first], *after, *shape[last + 1 :])), x.perm)


def _multiply(call: Call, x: Value, physical: int, weights: Array) -> Value:
    """The matrix times the values along one axis: axes before it are the batch, those after it
    the columns, so that no transpose is needed."""
    builder, shape = call.builder, x.tensor.shape
    batch, columns = math.prod(shape[:physical]), math.prod(shape[physical + 1 :])
    flat = Value(builder.reshape(x.tensor, (batch, shape[physical], columns)), identity(3))
    left = builder.constant(weights.astype(np.float32)[None])
    rows = weights.shape[0]
    product = builder.like(
        "BATCH_MATMUL", [left, flat], flat, shape=(batch, rows, columns), adjX=False, adjY=False
    )
    out = (*shape[:physical], rows, *shape[physical + 1 :])
    return Value(builder.reshape(product.tensor, out), x.perm)


def _extrapolated(call: Call, resize: _Resize, x: Value) -> Value:
    """Case 4."""
    mask = np.zeros((1,) * x.rank, np.bool_)
    for axis in resize.axes:
        shape = [1] * x.rank
        shape[x.axis(axis.axis)] = axis.after
        mask = mask | resize.outside(axis).reshape(shape)
    if not mask.any():
        return x
    value = np.array(resize.extrapolation).astype(x.dtype)
    filling = call.builder.constant(value.reshape((1,) * x.rank))
    return call.builder.like("SELECT_V2", [call.builder.constant(mask), filling, x], x)
