"""Resize and Upsample: every mode, along any axes.

Positions are known in advance, so each axis is a fixed choice of elements or a fixed matrix (see
`edgewise.graph.interpolation`). Of what gives exactly those, the cheapest form is chosen:
1. nearest, elements repeated a whole number of times along the last two axes:
   `upsample_nearest_neighbor`
2. nearest, anything else: picked positions, axis by axis (a strided slice or `gather`)
3. linear along the last two axes, on the grid of one of MIL's modes: `resize_bilinear`
4. linear on other axes or grids, cubic, antialiased: multiplication with the matrix of each axis
5. tf_crop_and_resize: what lies outside the input is replaced by `select`
The documentation of `resize_nearest_neighbor`, and of `resize` where two elements are equally near,
does not tell which element is read: they are not used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgewise.graph.interpolation import (
    COORDINATES,
    Array,
    Axis,
    ambiguity,
    cubic_kernel,
    linear_kernel,
    matrix,
    nearest_indices,
    outside,
    positions,
)
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var, types
from edgewise.targets.apple.call import Call, Operand
from edgewise.targets.apple.ops.numbers import as_number
from edgewise.targets.apple.ops.picking import pick

_FLOATS = (types.fp16, types.fp32)
#: on the input axis: a bilinear grid this close is the same
_CLOSE = 1e-5


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


def resize(call: Call) -> Operand:
    node = _read(call)
    if not node.axes:
        return call.operand(0)
    x = call.var(0)
    if node.mode == "nearest":
        x = _nearest(node, as_number(x))
    elif x.dtype in _FLOATS:
        x = _interpolated(node, x)
    else:
        call.refuse(
            "interpolating integers is rounded differently by each runtime",
            "Cast to float32 before, or use mode nearest.",
        )
    return _extrapolated(call, node, x)


# ---- reading the node


def _read(call: Call) -> _Resize:
    mode = str(call.attribute("mode", "nearest"))
    coordinates = str(call.attribute("coordinate_transformation_mode", "half_pixel"))
    if mode not in ("nearest", "linear", "cubic") or coordinates not in COORDINATES:
        call.refuse(
            f"ONNX has no mode '{mode}' with coordinates '{coordinates}'", "Export the model again."
        )
    return _Resize(
        mode,
        coordinates,
        tuple(_axes(call, coordinates)),
        str(call.attribute("nearest_mode", "round_prefer_floor")),
        float(call.attribute("cubic_coeff_a", -0.75)),
        bool(call.attribute("antialias", 0)),
        bool(call.attribute("exclude_outside", 0)),
    )


def _axes(call: Call, coordinates: str) -> list[Axis]:
    """The axes along which something changes, in order."""
    shape = call.shape(0)
    chosen = [int(axis) % len(shape) for axis in call.attribute("axes") or range(len(shape))]
    regions = [(0.0, 1.0)] * len(chosen)
    if coordinates == "tf_crop_and_resize":
        ends = call.array(1, "region of interest").reshape(2, -1)
        regions = [(float(start), float(end)) for start, end in ends.T]
    found = []
    sizes = _sizes(call, [shape[axis] for axis in chosen])
    for axis, (after, scale), region in zip(chosen, sizes, regions, strict=True):
        part = Axis(axis, shape[axis], after, scale, region)
        if scale != 1.0 or part.before != part.after or region != (0.0, 1.0):
            disagreement = ambiguity(part, coordinates)
            if disagreement is not None:
                call.refuse(*disagreement)
            found.append(part)
    return sorted(found, key=lambda part: part.axis)


def _sizes(call: Call, before: list[int]) -> list[tuple[int, float]]:
    """New size and scale of each chosen axis; sizes win over scales, as in ONNX."""
    if not call.has(3):
        scales = call.array(2, "scales").reshape(-1).astype(np.float32)
        return [
            (int(np.floor(np.float32(old) * scale)), float(scale))
            for old, scale in zip(before, scales, strict=True)
        ]
    sizes = call.ints(3, "sizes")
    policy = call.attribute("keep_aspect_ratio_policy", "stretch")
    ratios = [new / old for new, old in zip(sizes, before, strict=True)]
    if policy == "stretch":
        return list(zip(sizes, ratios, strict=True))
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    return [(math.floor(scale * old + 0.5), scale) for old in before]


# ---- nearest


def _nearest(node: _Resize, x: Var) -> Var:
    """Cases 1 and 2."""
    factors = [_repetition(node, x, axis) for axis in range(x.rank)]
    last = factors[-2:]
    if x.rank >= 3 and max(last) > 1 and x.dtype in _FLOATS:  # case 1
        x = mb.upsample_nearest_neighbor(
            x=x, scale_factor_height=last[0], scale_factor_width=last[1]
        )
    else:
        last = []
    for part in node.axes:
        repeated = len(last) == 2 and part.axis >= x.rank - 2 and factors[part.axis] > 1
        if not repeated:
            x = pick(x, part.axis, node.indices(part))
    return x


def _repetition(node: _Resize, x: Var, axis: int) -> int:
    """How often each element of the axis comes in turn; 1 where it is not repeated so."""
    part = next((part for part in node.axes if part.axis == axis), None)
    if part is None or part.after % part.before:
        return 1
    factor = part.after // part.before
    repeated = np.array_equal(node.indices(part), np.arange(part.after) // factor)
    return factor if repeated else 1


# ---- linear and cubic


def _interpolated(node: _Resize, x: Var) -> Var:
    """Cases 3 and 4."""
    planes = [part for part in node.axes if part.axis >= x.rank - 2]
    sampling = _sampling_mode(node, planes) if planes and node.mode == "linear" else None
    for part in node.axes:
        if sampling is None or part not in planes:
            x = _multiply(x, part.axis, node.matrix(part))
    if sampling is None:
        return x
    shape = [int(size) for size in x.shape]
    for part in planes:
        shape[part.axis] = part.after
    image = x if x.rank >= 3 else mb.expand_dims(x=x, axes=list(range(3 - x.rank)))
    height, width = [1, *shape][-2:]
    image = mb.resize_bilinear(
        x=image, target_size_height=height, target_size_width=width, sampling_mode=sampling
    )
    return image if x.rank >= 3 else mb.reshape(x=image, shape=shape)


def _sampling_mode(node: _Resize, planes: list[Axis]) -> str | None:
    """The `resize_bilinear` mode that samples as ONNX does; None when there is none."""
    wanted = [(part, node.matrix(part)) for part in planes]
    for mode in ("UNALIGN_CORNERS", "STRICT_ALIGN_CORNERS", "DEFAULT"):
        if all(
            np.allclose(_matrix_of_mode(part, mode), right, rtol=0, atol=_CLOSE * part.before)
            for part, right in wanted
        ):
            return mode
    return None


def _matrix_of_mode(axis: Axis, mode: str) -> Array:
    """MIL specification, `resize_bilinear`; an axis that stays is the same in each of the modes."""
    index = np.arange(axis.after, dtype=np.float64)
    spacing = axis.before / axis.after
    grid = index * spacing
    if mode == "UNALIGN_CORNERS":
        grid = grid + spacing / 2 - 0.5
    elif mode == "STRICT_ALIGN_CORNERS":
        grid = index * ((axis.before - 1) / max(axis.after - 1, 1))
    return matrix(axis, np.clip(grid, 0, axis.before - 1), linear_kernel, 1)


def _multiply(x: Var, axis: int, weights: Array) -> Var:
    """The matrix (after, before) times the values along one axis: axes before it are the batch,
    those after it the columns."""
    shape = [int(size) for size in x.shape]
    result = [*shape[:axis], weights.shape[0], *shape[axis + 1 :]]
    lead, tail = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    numbers = weights.astype(np.float32)
    if tail == 1:
        rows = mb.reshape(x=x, shape=[lead, shape[axis]])
        product = mb.matmul(x=rows, y=np.ascontiguousarray(numbers.T))
    else:
        columns = mb.reshape(x=x, shape=[lead, shape[axis], tail])
        product = mb.matmul(x=numbers, y=columns)
    return mb.reshape(x=product, shape=result)


# ---- outside of the input


def _extrapolated(call: Call, node: _Resize, x: Var) -> Var:
    """Case 5."""
    mask = np.zeros((1,) * x.rank, np.bool_)
    for part in node.axes:
        shape = [1] * x.rank
        shape[part.axis] = part.after
        mask = mask | node.outside(part).reshape(shape)
    if not mask.any():
        return x
    value = types.nptype_from_builtin(x.dtype)(call.attribute("extrapolation_value", 0.0))
    whole = np.broadcast_to(mask, x.shape).copy()
    return mb.select(cond=whole, a=value, b=x, name=call.name)
