"""Shapes and orders: reshape, transpose, pad, join, split and the space-to-depth family.

coremltools MIL ops: tensor_transformation.py and tensor_operation.py.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from edgewise.targets.apple.interpreter.kernels.base import Inputs, Kernel, Node, Result, Run


def resolve_shape(current: tuple[int, ...], asked: list[int]) -> list[int]:
    """The target shape of `reshape`: 0 keeps the dimension (counted from the right, 1 where there
    is none), one -1 takes what is left.
    """
    padded = (1,) * (len(asked) - len(current)) + current[max(len(current) - len(asked), 0) :]
    shape = [keep if size == 0 else size for keep, size in zip(padded, asked, strict=True)]
    if -1 in shape:
        known = math.prod(size for size in shape if size != -1)
        shape[shape.index(-1)] = math.prod(current) // max(known, 1)
    return shape


def _reshape(node: Node) -> Run:
    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        return x.reshape(resolve_shape(x.shape, [int(size) for size in inputs["shape"]]))

    return run


def _reshape_like(node: Node) -> Run:
    """The new shape is a chain of pieces of the reference tensors' shapes."""

    def run(inputs: Inputs) -> Result:
        bounds = zip(inputs["begins"], inputs["ends"], inputs["end_masks"], strict=True)
        pieces = [
            reference.shape[int(begin) : None if open_ else int(end)]
            for reference, (begin, end, open_) in zip(inputs["ref_tensors"], bounds, strict=True)
        ]
        return inputs["x"].reshape([size for piece in pieces for size in piece])

    return run


def _flatten2d(node: Node) -> Run:
    axis = node.integer("axis", 1)

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        return x.reshape(math.prod(x.shape[: axis % x.ndim if axis < 0 else axis]), -1)

    return run


def _transpose(node: Node) -> Run:
    perm = node.ints("perm")
    return lambda inputs: np.ascontiguousarray(np.transpose(inputs["x"], perm))


def _expand_dims(node: Node) -> Run:
    axes = tuple(node.ints("axes", ()) or ())
    return lambda inputs: np.expand_dims(inputs["x"], axes)


def _squeeze(node: Node) -> Run:
    axes = node.ints("axes")
    return lambda inputs: np.squeeze(inputs["x"], None if axes is None else tuple(axes))


def _reverse(node: Node) -> Run:
    axes = node.ints("axes")
    return lambda inputs: np.flip(inputs["x"], None if axes is None else tuple(axes))


def _tile(node: Node) -> Run:
    return lambda inputs: np.tile(inputs["x"], inputs["reps"])


def _pad(node: Node) -> Run:
    mode = node.text("mode", "constant")
    value = node.number("constant_val", 0.0)

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        last = np.asarray(inputs["pad"]).reshape(-1, 2).tolist()  # of the last axes only
        widths = [(0, 0)] * (x.ndim - len(last)) + [tuple(pair) for pair in last]
        if mode == "constant":
            return np.pad(x, widths, constant_values=value)
        if mode == "reflect":
            return np.pad(x, widths, mode="reflect")
        return np.pad(x, widths, mode="edge")

    return run


def _concat(node: Node) -> Run:
    axis, interleave = node.integer("axis", 0), node.flag("interleave")

    def run(inputs: Inputs) -> Result:
        values = [np.atleast_1d(value) for value in inputs["values"]]
        if not interleave:
            return np.concatenate(values, axis=axis)
        first = values[0]
        position = axis % first.ndim
        shape = [*first.shape]
        shape[position] *= len(values)
        return np.stack(values, axis=position + 1).reshape(shape)

    return run


def _stack(node: Node) -> Run:
    axis = node.integer("axis", 0)
    return lambda inputs: np.stack(inputs["values"], axis=axis)


def _split(node: Node) -> Run:
    axis, sizes, count = (
        node.integer("axis", 0),
        node.ints("split_sizes"),
        node.integer("num_splits", 1),
    )

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        parts = sizes or [x.shape[axis] // count] * count
        return np.split(x, np.cumsum(parts)[:-1], axis=axis)

    return run


def _depth_to_space(node: Node) -> Run:
    """Depth is read as (row in block, column in block, channel)."""
    block = node.integer("block_size", 1)

    def run(inputs: Inputs) -> Result:
        n, c, h, w = inputs["x"].shape
        split = inputs["x"].reshape(n, block, block, c // block**2, h, w)
        return split.transpose(0, 3, 4, 1, 5, 2).reshape(n, c // block**2, h * block, w * block)

    return run


def _space_to_depth(node: Node) -> Run:
    """The inverse of `depth_to_space`."""
    block = node.integer("block_size", 1)

    def run(inputs: Inputs) -> Result:
        n, c, h, w = inputs["x"].shape
        split = inputs["x"].reshape(n, c, h // block, block, w // block, block)
        return split.transpose(0, 3, 5, 1, 2, 4).reshape(n, c * block**2, h // block, w // block)

    return run


def _pixel_shuffle(node: Node) -> Run:
    """Depth is read as (channel, row in block, column in block), as torch.nn.PixelShuffle does."""
    block = node.integer("upscale_factor", 1)

    def run(inputs: Inputs) -> Result:
        n, c, h, w = inputs["x"].shape
        split = inputs["x"].reshape(n, c // block**2, block, block, h, w)
        return split.transpose(0, 1, 4, 2, 5, 3).reshape(n, c // block**2, h * block, w * block)

    return run


def _pixel_unshuffle(node: Node) -> Run:
    """The inverse of `pixel_shuffle`."""
    block = node.integer("downscale_factor", 1)

    def run(inputs: Inputs) -> Result:
        n, c, h, w = inputs["x"].shape
        split = inputs["x"].reshape(n, c, h // block, block, w // block, block)
        return split.transpose(0, 1, 3, 5, 2, 4).reshape(n, c * block**2, h // block, w // block)

    return run


def _sliding_windows(node: Node) -> Run:
    axis, size, stride = node.integer("axis", 0), node.integer("size", 1), node.integer("stride", 1)

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        position = axis % x.ndim
        windows = np.moveaxis(sliding_window_view(x, size, axis=position), -1, position + 1)
        return windows[(slice(None),) * position + (slice(None, None, stride),)]

    return run


KERNELS: dict[str, Kernel] = {
    "concat": _concat,
    "depth_to_space": _depth_to_space,
    "expand_dims": _expand_dims,
    "flatten2d": _flatten2d,
    "pad": _pad,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "reshape": _reshape,
    "reshape_like": _reshape_like,
    "reverse": _reverse,
    "sliding_windows": _sliding_windows,
    "space_to_depth": _space_to_depth,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "transpose": _transpose,
}
