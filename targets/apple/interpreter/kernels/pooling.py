"""Pooling over one to three spatial axes (coremltools MIL ops: iOS15/pool.py).

A window is a product of intervals, and maximum and sum are associative: each spatial axis is
reduced on its own, `kernel` strided slices at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgewise.targets.apple.interpreter.kernels.base import Array, Inputs, Kernel, Node, Result, Run

Combine = Callable[[Array, Array], Array]


@dataclass(frozen=True, slots=True)
class Axis:
    """How windows lie along one spatial axis of length `size`."""

    size: int
    kernel: int
    stride: int
    begin: int  # padding before the first element
    end: int
    windows: int

    @property
    def tail(self) -> int:
        """Elements that the last window reads past the end of the input (padding included)."""
        return max((self.windows - 1) * self.stride + self.kernel - self.begin - self.size, 0)

    def counts(self, *, with_padding: bool) -> Array:
        """Elements per window inside the input, or inside the padded input."""
        first = np.arange(self.windows) * self.stride - self.begin
        low, high = (-self.begin, self.size + self.end) if with_padding else (0, self.size)
        return np.minimum(first + self.kernel, high) - np.maximum(first, low)


def axes_of(node: Node, spatial: tuple[int, ...]) -> list[Axis]:
    """The window geometry for an input of that spatial shape."""
    rank = len(spatial)
    kernels = node.ints("kernel_sizes") or []
    strides = node.ints("strides", [1] * rank) or []
    pads = node.ints("pad", [0] * 2 * rank) or []
    pad_type, ceil_mode = node.text("pad_type", "valid"), node.flag("ceil_mode")
    result = []
    for axis, (size, kernel, stride) in enumerate(zip(spatial, kernels, strides, strict=True)):
        if pad_type in ("same", "same_lower"):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            small, large = total // 2, total - total // 2
            begin, end = (small, large) if pad_type == "same" else (large, small)
        elif pad_type == "custom":
            begin, end = pads[2 * axis], pads[2 * axis + 1]
        else:
            begin, end = 0, 0
        room = size + begin + end - kernel
        windows = room // stride + 1
        if ceil_mode:
            windows = (room + stride - 1) // stride + 1
            # a window that would start in the padding behind the input is dropped
            if begin + end > 0 and (windows - 1) * stride >= size + begin:
                windows -= 1
        result.append(Axis(size, kernel, stride, begin, end, windows))
    return result


def _reduce(x: Array, axes: list[Axis], outside: float, combine: Combine) -> Array:
    for position, axis in enumerate(axes, start=2):
        if axis.begin or axis.tail:
            margin = [(0, 0)] * x.ndim
            margin[position] = (axis.begin, axis.tail)
            x = np.pad(x, margin, constant_values=outside)
        moved = np.moveaxis(x, position, 0)
        span = (axis.windows - 1) * axis.stride + 1
        reduced = moved[0 : span : axis.stride]
        for shift in range(1, axis.kernel):
            reduced = combine(reduced, moved[shift : shift + span : axis.stride])
        x = np.moveaxis(reduced, 0, position)
    return np.ascontiguousarray(x)


def _max_pool(node: Node) -> Run:
    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        return _reduce(x, axes_of(node, x.shape[2:]), -np.inf, np.maximum)

    return run


def _avg_pool(node: Node) -> Run:
    exclude = node.flag("exclude_padding_from_average")

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        axes = axes_of(node, x.shape[2:])
        total = _reduce(x, axes, 0.0, np.add)
        elements = np.ones((), np.float32)
        for axis in axes:
            elements = np.multiply.outer(elements, axis.counts(with_padding=not exclude))
        return total / elements.astype(np.float32)

    return run


def _l2_pool(node: Node) -> Run:
    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        return np.sqrt(_reduce(np.square(x), axes_of(node, x.shape[2:]), 0.0, np.add))

    return run


KERNELS: dict[str, Kernel] = {"avg_pool": _avg_pool, "l2_pool": _l2_pool, "max_pool": _max_pool}
