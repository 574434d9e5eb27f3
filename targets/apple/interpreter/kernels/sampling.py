"""Images read at computed places (coremltools MIL ops: `resample` in image_resizing.py).

A coordinate becomes a place along its axis of `size` pixels, whose middles are at 0 .. size - 1:
    unnormalized                 the place itself
    normalized_minus_one_to_one  from -1 to 1, normalized_zero_to_one from 0 to 1, over the middles
                                 of the outer pixels with `align_corners`, else over their edges
Of equally near pixels `nearest` takes the even one, as PyTorch does, whose operator converts to it.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from edgewise.targets.apple.interpreter.kernels.base import Array, Inputs, Kernel, Node, Result, Run


def _place(coordinate: Array, size: int, mode: str, *, aligned: bool) -> Array:
    if mode == "unnormalized":
        return coordinate
    share = (coordinate + 1) / 2 if mode == "normalized_minus_one_to_one" else coordinate
    return share * (size - 1) if aligned else share * size - np.float32(0.5)


def _inside(index: Array, size: int, padding: str) -> Array:
    """The pixel that stands for one outside."""
    found: Array = np.clip(index, 0, size - 1)
    if padding == "symmetric":
        folded = index % (2 * size)
        found = np.minimum(folded, 2 * size - 1 - folded)
    elif padding == "reflection":
        folded = index % max(2 * size - 2, 1)
        found = np.minimum(folded, np.maximum(2 * size - 2 - folded, 0))
    return found


def _taps(place: Array, mode: str) -> list[tuple[Array, Array]]:
    """Pixels along one axis and their weights. Places beyond all numbers count as far outside."""
    near = np.clip(np.nan_to_num(place), -(2**30), 2**30)
    if mode == "nearest":
        return [(np.rint(near).astype(np.int64), np.ones_like(near))]
    low = np.floor(near)
    share = near - low
    first = low.astype(np.int64)
    return [(first, 1 - share), (first + 1, share)]


def resample(node: Node) -> Run:
    sampling, padding = node.text("sampling_mode", ""), node.text("padding_mode", "")
    coordinates_mode, aligned = node.text("coordinates_mode", ""), node.flag("align_corners")
    value = node.number("padding_value", 0)

    def run(inputs: Inputs) -> Result:
        x, coordinates = inputs["x"], np.asarray(inputs["coordinates"], np.float32)
        sizes = x.shape[2:]
        places = (
            _place(coordinates[..., 1 - axis], size, coordinates_mode, aligned=aligned)
            for axis, size in enumerate(sizes)
        )
        batch = np.arange(x.shape[0])[:, None, None]
        total = np.zeros((*coordinates.shape[:3], x.shape[1]), np.float32)
        for taps in product(*(_taps(place, sampling) for place in places)):
            (row, row_weight), (column, column_weight) = taps
            at = (_inside(i, n, padding) for i, n in zip((row, column), sizes, strict=True))
            pixels = x.transpose(0, 2, 3, 1)[batch, *at]
            if padding == "constant":
                out = (row < 0) | (row >= sizes[0]) | (column < 0) | (column >= sizes[1])
                pixels = np.where(out[..., None], value, pixels)
            total += pixels * (row_weight * column_weight)[..., None]
        return np.ascontiguousarray(total.transpose(0, 3, 1, 2))

    return run


KERNELS: dict[str, Kernel] = {"resample": resample}
