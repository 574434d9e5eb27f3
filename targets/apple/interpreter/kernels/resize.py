"""Resizing of the last axes (coremltools MIL ops: image_resizing.py of iOS15, iOS16 and iOS17)."""

from __future__ import annotations

import numpy as np

from edgewise.targets.apple.interpreter.kernels.base import Array, Inputs, Kernel, Node, Result, Run


def sampling_grid(size: int, out: int, mode: str) -> Array:
    """Positions on an axis of `size` elements that `out` samples are read at, float64 [out].

    The formulas are those of the `resize_bilinear` documentation.
    """
    index = np.arange(out, dtype=np.float64)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        if out > 1:
            grid = index * ((size - 1) / (out - 1))
        else:
            grid = np.full(1, (size - 1) / 2 if mode == "ALIGN_CORNERS" else 0.0)
    elif mode == "DEFAULT":
        grid = index * (size / out)  # (size - size / out) / (out - 1), written without 0 / 0
    elif mode == "OFFSET_CORNERS":
        delta = max(1, size - 1) / out
        grid = (index + 0.5) * delta
    else:  # UNALIGN_CORNERS
        grid = (index + 0.5) * (size / out) - 0.5
    return np.clip(grid, 0, size - 1)


def _linear(x: Array, axis: int, grid: Array) -> Result:
    low = np.floor(grid).astype(np.int64)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    shape = [1] * x.ndim
    shape[axis] = -1
    weight = (grid - low).astype(np.float32).reshape(shape)
    return np.take(x, low, axis=axis) * (1 - weight) + np.take(x, high, axis=axis) * weight


def _resize_bilinear(node: Node) -> Run:
    height, width = node.integer("target_size_height", 1), node.integer("target_size_width", 1)
    mode = node.text("sampling_mode", "DEFAULT")

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        for axis, out in ((x.ndim - 2, height), (x.ndim - 1, width)):
            x = _linear(x, axis, sampling_grid(x.shape[axis], out, mode))
        return x

    return run


def _scaled(node: Node, x: Array) -> list[tuple[int, int]]:
    """Axis and new size of the two last axes of an upsampling operation: floor(size * factor)."""
    factors = (node.number("scale_factor_height", 1), node.number("scale_factor_width", 1))
    return [
        (axis, int(np.floor(x.shape[axis] * factor)))
        for axis, factor in zip((x.ndim - 2, x.ndim - 1), factors, strict=True)
    ]


def _upsample_bilinear(node: Node) -> Run:
    align_corners = node.flag("align_corners", True)
    half_pixel = node.flag("half_pixel_centers", not align_corners)
    if align_corners and half_pixel:
        raise node.refuse("align_corners and half_pixel_centers exclude each other")
    mode = "UNALIGN_CORNERS" if half_pixel else "DEFAULT"
    mode = "STRICT_ALIGN_CORNERS" if align_corners else mode

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        for axis, out in _scaled(node, x):
            x = _linear(x, axis, sampling_grid(x.shape[axis], out, mode))
        return x

    return run


def _upsample_nearest(node: Node) -> Run:
    """Sample i reads floor(i * size / out): neither aligned corners nor half-pixel centres."""

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        for axis, out in _scaled(node, x):
            x = np.take(x, np.arange(out) * x.shape[axis] // out, axis=axis)
        return x

    return run


def _resize_nearest(node: Node) -> Run:
    """Sample i reads floor((i + 0.5) * size / out).

    The documentation gives no rule; this is the half-pixel one, for which coremltools' TensorFlow
    frontend uses this operation.
    """
    height, width = node.integer("target_size_height", 1), node.integer("target_size_width", 1)

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        for axis, out in ((x.ndim - 2, height), (x.ndim - 1, width)):
            indices = (2 * np.arange(out) + 1) * x.shape[axis] // (2 * out)
            x = np.take(x, indices, axis=axis)
        return x

    return run


def _resize(node: Node) -> Run:
    """Linear, or the nearest grid point.

    Ties of the nearest mode go to the lower index: the documentation is silent, and only then does
    coremltools' own use of the default grid for half-pixel doubling come out right.
    """
    dims = node.integer("resized_dims", 0)
    nearest = node.text("interpolation_mode", "LINEAR") == "NEAREST_NEIGHBOR"
    mode = node.text("sampling_mode", "DEFAULT")

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        sizes = [int(size) for size in inputs["shape"]][len(inputs["shape"]) - dims :]
        for axis, asked in zip(range(x.ndim - dims, x.ndim), sizes, strict=True):
            grid = sampling_grid(x.shape[axis], asked or x.shape[axis], mode)
            if nearest:
                x = np.take(x, np.ceil(grid - 0.5).astype(np.int64), axis=axis)
            else:
                x = _linear(x, axis, grid)
        return x

    return run


KERNELS: dict[str, Kernel] = {
    "resize": _resize,
    "resize_bilinear": _resize_bilinear,
    "resize_nearest_neighbor": _resize_nearest,
    "upsample_bilinear": _upsample_bilinear,
    "upsample_nearest_neighbor": _upsample_nearest,
}
