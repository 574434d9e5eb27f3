"""Resize over the two (or one) last axes.

Every interpolation of ONNX Resize is, per axis, a matrix with one row of weights per output
position. The matrix is computed from the formulas of the operator specification, and then the
cheapest expression is chosen that gives exactly that matrix:
1. nearest, each element repeated a whole number of times: `upsample_nearest_neighbor`;
2. nearest, every n-th element: a strided slice;
3. linear with the sample grid of one of MIL's `resize_bilinear` modes: that operation;
4. anything else (cubic, antialias, odd grids): multiplication with the matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import Call, Operand

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Axis:
    """One resized axis: `scale` is output per input, as ONNX uses it in its formulas."""

    size: int
    out: int
    scale: float


def resize(call: Call) -> Operand:
    shape = call.shape(0)
    axes = _resized_axes(call)
    changed = [axis for axis, part in enumerate(axes) if part.out != part.size or part.scale != 1]
    if any(axis < len(shape) - 2 for axis in changed):
        call.refuse(
            "Core ML resizes the two last axes only", "Resize with height and width at the end."
        )
    if not changed:
        return call.operand(0)
    mode = call.attribute("mode", "nearest")
    x = call.var(0)
    if len(shape) < 3:
        x = mb.reshape(x=x, shape=[1] * (3 - len(shape)) + list(shape))
    height, width = axes[-2:] if len(shape) > 1 else (_Axis(1, 1, 1.0), axes[-1])
    if mode == "nearest":
        result = _nearest(call, x, height, width)
    elif mode == "linear" and (sampling := _sampling_mode(call, height, width)) is not None:
        result = mb.resize_bilinear(
            x=x,
            target_size_height=height.out,
            target_size_width=width.out,
            sampling_mode=sampling,
        )
    else:
        result = _multiply(x, _matrix(call, height, mode), _matrix(call, width, mode))
    target = [part.out for part in axes]
    return result if list(result.shape) == target else mb.reshape(x=result, shape=target)


def _resized_axes(call: Call) -> list[_Axis]:
    """Sizes and scales of all axes; sizes win over scales, as in ONNX."""
    if call.attribute("exclude_outside", 0) or call.attribute("antialias", 0):
        call.refuse(
            "antialias and exclude_outside are not offered", "Resize without those attributes."
        )
    if call.attribute("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        call.refuse("Core ML does not crop while it resizes", "Crop with Slice before.")
    shape = call.shape(0)
    axes = [axis % len(shape) for axis in call.attribute("axes", list(range(len(shape))))]
    parts = [_Axis(size, size, 1.0) for size in shape]
    if call.has(3):
        sizes = _keep_ratio(call, call.ints(3, "sizes"), [shape[axis] for axis in axes])
        for axis, out in zip(axes, sizes, strict=True):
            parts[axis] = _Axis(shape[axis], out, out / shape[axis])
    else:
        scales = call.array(2, "scales").reshape(-1).astype(np.float32)
        for axis, scale in zip(axes, scales, strict=True):
            out = int(np.floor(np.float32(shape[axis]) * scale))
            parts[axis] = _Axis(shape[axis], out, float(scale))
    return parts


def _keep_ratio(call: Call, sizes: list[int], shape: list[int]) -> list[int]:
    policy = call.attribute("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return sizes
    choose = min if policy == "not_larger" else max
    scale = choose(size / old for size, old in zip(sizes, shape, strict=True))
    return [int(np.floor(scale * old + 0.5)) for old in shape]


def _coordinates(call: Call, axis: _Axis) -> Floats:
    """Where each output position lies on the input axis (ONNX Resize, coordinate table)."""
    positions = np.arange(axis.out, dtype=np.float64)
    match call.attribute("coordinate_transformation_mode", "half_pixel"):
        case "half_pixel":
            return (positions + 0.5) / axis.scale - 0.5
        case "half_pixel_symmetric":
            adjustment = axis.out / (axis.scale * axis.size)
            offset = axis.size / 2 * (1 - adjustment)
            return offset + (positions + 0.5) / axis.scale - 0.5
        case "pytorch_half_pixel":
            return (positions + 0.5) / axis.scale - 0.5 if axis.out > 1 else positions * 0
        case "align_corners":
            return positions * ((axis.size - 1) / (axis.out - 1) if axis.out > 1 else 0)
        case "asymmetric":
            return positions / axis.scale
        case other:
            call.refuse(f"coordinate mode '{other}' is unknown", "Use half_pixel.")


_ROUND: dict[str, Callable[[Floats], Floats]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _nearest_indices(call: Call, axis: _Axis) -> npt.NDArray[np.int64]:
    rounding = _ROUND[call.attribute("nearest_mode", "round_prefer_floor")]
    # float32 as in ONNX Runtime: at ties the last bit decides
    coordinates = _coordinates(call, axis).astype(np.float32).astype(np.float64)
    return np.clip(rounding(coordinates), 0, axis.size - 1).astype(np.int64)


def _nearest(call: Call, x: Var, height: _Axis, width: _Axis) -> Var:
    rows, columns = _nearest_indices(call, height), _nearest_indices(call, width)
    up_rows, up_columns = _repetition(rows, height), _repetition(columns, width)
    if up_rows is not None and up_columns is not None:  # case 1
        return mb.upsample_nearest_neighbor(
            x=x, scale_factor_height=up_rows, scale_factor_width=up_columns
        )
    row_step, column_step = _stride(rows), _stride(columns)
    if row_step is not None and column_step is not None:  # case 2
        lead = list(x.shape[:-2])
        return mb.slice_by_index(
            x=x,
            begin=[0] * len(lead) + [int(rows[0]), int(columns[0])],
            end=[*lead, int(rows[-1]) + 1, int(columns[-1]) + 1],
            stride=[1] * len(lead) + [row_step, column_step],
        )
    return _multiply(x, _selection(rows, height), _selection(columns, width))


def _repetition(indices: npt.NDArray[np.int64], axis: _Axis) -> int | None:
    factor, rest = divmod(axis.out, axis.size)
    whole = rest == 0 and np.array_equal(indices, np.arange(axis.out) // factor)
    return factor if whole else None


def _stride(indices: npt.NDArray[np.int64]) -> int | None:
    if len(indices) == 1:
        return 1
    steps = np.unique(np.diff(indices))
    return int(steps[0]) if len(steps) == 1 and steps[0] > 0 else None


def _selection(indices: npt.NDArray[np.int64], axis: _Axis) -> Floats:
    matrix = np.zeros((axis.out, axis.size))
    matrix[np.arange(axis.out), indices] = 1
    return matrix


def _sampling_mode(call: Call, height: _Axis, width: _Axis) -> str | None:
    """The `resize_bilinear` mode whose grid is this one (MIL specification, `resize_bilinear`)."""
    for mode, grid in _GRIDS.items():
        if all(
            np.allclose(
                np.clip(_coordinates(call, axis), 0, axis.size - 1), grid(axis), atol=1e-6, rtol=0
            )
            for axis in (height, width)
        ):
            return mode
    return None


def _unaligned(axis: _Axis) -> Floats:
    spacing = axis.size / axis.out
    return np.clip(np.arange(axis.out) * spacing + spacing / 2 - 0.5, 0, axis.size - 1)


def _aligned(axis: _Axis) -> Floats:
    if axis.out == 1:
        return np.zeros(1)
    return np.arange(axis.out, dtype=np.float64) * ((axis.size - 1) / (axis.out - 1))


def _default(axis: _Axis) -> Floats:
    return np.clip(np.arange(axis.out) * (axis.size / axis.out), 0, axis.size - 1)


_GRIDS: dict[str, Callable[[_Axis], Floats]] = {
    "UNALIGN_CORNERS": _unaligned,
    "STRICT_ALIGN_CORNERS": _aligned,
    "DEFAULT": _default,
}


def _matrix(call: Call, axis: _Axis, mode: str) -> Floats:
    """Rows of interpolation weights; taps outside the axis read its edge."""
    coordinates = _coordinates(call, axis)
    if mode == "linear":
        coordinates = np.clip(coordinates, 0, axis.size - 1)
    base = np.floor(coordinates)
    fraction = coordinates - base
    taps = _linear_taps(fraction) if mode == "linear" else _cubic_taps(call, fraction)
    matrix = np.zeros((axis.out, axis.size))
    for offset, weights in taps.items():
        columns = np.clip(base + offset, 0, axis.size - 1).astype(np.int64)
        np.add.at(matrix, (np.arange(axis.out), columns), weights)
    return matrix


def _linear_taps(fraction: Floats) -> dict[int, Floats]:
    return {0: 1 - fraction, 1: fraction}


def _cubic_taps(call: Call, fraction: Floats) -> dict[int, Floats]:
    """Keys' cubic convolution with parameter `a` (ONNX Resize, `cubic_coeff_a`)."""
    a = np.float64(call.attribute("cubic_coeff_a", -0.75))

    def near(distance: Floats) -> Floats:
        return ((a + 2) * distance - (a + 3)) * distance**2 + 1

    def far(distance: Floats) -> Floats:
        return a * (((distance - 5) * distance + 8) * distance - 4)

    return {
        -1: far(fraction + 1),
        0: near(fraction),
        1: near(1 - fraction),
        2: far(2 - fraction),
    }


def _multiply(x: Var, rows: Floats, columns: Floats) -> Var:
    """`rows @ x @ columns^T`; a square identity is skipped."""
    if not _is_identity(rows):
        x = mb.matmul(x=rows.astype(np.float32), y=x)
    if not _is_identity(columns):
        x = mb.matmul(x=x, y=np.ascontiguousarray(columns.T.astype(np.float32)))
    return x


def _is_identity(matrix: Floats) -> bool:
    return matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix)))
