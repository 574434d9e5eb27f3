"""Values with a lazy permutation.

A `Value` is an ONNX value as a TFLite tensor holds it: physical axis `k` is ONNX axis `perm[k]`.
An ONNX Transpose only edits `perm`; an operator that needs a certain order asks the builder for
it, and only then a TRANSPOSE is written. So the bookkeeping from NCHW to NHWC, and the cancelling
of transposes that exporters leave behind, come for free.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgewise.targets.android.model import Quantization, Tensor

Perm = tuple[int, ...]

NHWC: Perm = (0, 2, 3, 1)
NWC: Perm = (0, 2, 1)


def identity(rank: int) -> Perm:
    return tuple(range(rank))


def without(perm: Perm, axes: Collection[int]) -> Perm:
    """The permutation once ONNX axes are gone and the others renumbered."""
    left = sorted(axis for axis in perm if axis not in axes)
    return tuple(left.index(axis) for axis in perm if axis not in axes)


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor and the ONNX axis that each of its axes stands for."""

    tensor: Tensor
    perm: Perm

    @property
    def rank(self) -> int:
        return len(self.perm)

    @property
    def shape(self) -> tuple[int, ...]:
        """The ONNX shape."""
        dims = [0] * len(self.perm)
        for dim, axis in zip(self.tensor.shape, self.perm, strict=True):
            dims[axis] = dim
        return tuple(dims)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.tensor.dtype

    @property
    def quantization(self) -> Quantization | None:
        return self.tensor.quantization

    def axis(self, onnx_axis: int) -> int:
        """The physical axis of an ONNX axis, negative ones included."""
        return self.perm.index(onnx_axis % len(self.perm))

    def physical(self, per_axis: Sequence[int]) -> list[int]:
        """Numbers given per ONNX axis, in physical order."""
        return [int(per_axis[axis]) for axis in self.perm]

    def transposed(self, onnx_perm: Sequence[int]) -> Value:
        """ONNX Transpose: the same data under new axis numbers."""
        position = {old: new for new, old in enumerate(onnx_perm)}
        return Value(self.tensor, tuple(position[axis] for axis in self.perm))

    def is_linear(self) -> bool:
        """Whether the elements lie in memory in ONNX order (axes of size 1 may be anywhere)."""
        shape = self.shape
        moved = [axis for axis in self.perm if shape[axis] != 1]
        return moved == sorted(moved)


def reshape_orders(value: Value, shape: Sequence[int]) -> tuple[Perm, Perm]:
    """Memory orders with which a reshape of `value` is a reshape in memory.

    A reshape splits its axes into groups that hold the same elements before and after. Splitting
    one axis keeps any memory order; merging several asks only that they lie next to each other in
    ONNX order. So (N, C, H, W) to (N, C, H * W) is free in NHWC.

    Where the axes must move, the ONNX order is taken if that keeps the innermost axis and moving
    as few axes as possible does not: runs of memory are copied instead of single elements. So
    (N, T, H, D) in the order N, H, T, D, as attention leaves it, becomes (N, T, H * D) in order.

    Returns:
        The order that `value` must have before (its own where that will do), and the order of the
        result, whose shape is `shape`.
    """
    groups = _reshape_groups(value.shape, shape)
    group_of = {axis: index for index, (old, _) in enumerate(groups) for axis in old}
    before = list(value.perm)
    for old, _ in groups:
        before = _adjacent(before, [axis for axis in old if value.shape[axis] != 1], value.shape)
    innermost = _innermost(value.perm, value.shape)
    if _innermost(before, value.shape) != innermost == _innermost(range(value.rank), value.shape):
        before = list(range(value.rank))
    has_long = [any(value.shape[axis] != 1 for axis in old) for old, _ in groups]
    seen = dict.fromkeys(  # an axis of size 1 tells where its group lies only if all are of size 1
        group_of[axis] for axis in before if value.shape[axis] != 1 or not has_long[group_of[axis]]
    )
    after = tuple(axis for index in seen for axis in groups[index][1])
    return tuple(before), after


def _innermost(order: Sequence[int], shape: Sequence[int]) -> int | None:
    """The last axis in memory that has more than one element."""
    return next((axis for axis in reversed(order) if shape[axis] != 1), None)


def _reshape_groups(
    before: Sequence[int], after: Sequence[int]
) -> list[tuple[list[int], list[int]]]:
    """The smallest runs of axes with equally many elements; both shapes have at least one axis."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) and j < len(after):
        old, new = [i], [j]
        size_old, size_new = before[i], after[j]
        i, j = i + 1, j + 1
        while size_old != size_new:
            if size_old < size_new:
                old.append(i)
                size_old *= before[i]
                i += 1
            else:
                new.append(j)
                size_new *= after[j]
                j += 1
        groups.append((old, new))
    groups[-1][0].extend(range(i, len(before)))  # what is left has size 1
    groups[-1][1].extend(range(j, len(after)))
    return groups


def _adjacent(order: list[int], axes: list[int], shape: Sequence[int]) -> list[int]:
    """The order with `axes` next to each other and ascending, or as it is where they are so."""
    long_axes = [axis for axis in order if shape[axis] != 1]
    start = long_axes.index(axes[0]) if axes else 0
    if long_axes[start : start + len(axes)] == axes:
        return order
    first = min(order.index(axis) for axis in axes)
    kept_before = [axis for axis in order[:first] if axis not in axes]
    kept_after = [axis for axis in order[first:] if axis not in axes]
    return [*kept_before, *axes, *kept_after]
