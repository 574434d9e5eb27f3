"""Values with a lazy permutation.

A `Value` is an ONNX value as a TFLite tensor holds it: physical axis `k` is ONNX axis `perm[k]`.
An ONNX Transpose only edits `perm`; an operator that needs a certain order asks the builder for
it, and only then a TRANSPOSE is written. So the bookkeeping from NCHW to NHWC, and the cancelling
of transposes that exporters leave behind, come for free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgewise.targets.android.model import Array, Quantization, Tensor

Perm = tuple[int, ...]

NHWC: Perm = (0, 2, 3, 1)
NWC: Perm = (0, 2, 1)


def identity(rank: int) -> Perm:
    return tuple(range(rank))


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


def to_physical(array: Array, perm: Perm) -> Array:
    """A constant in ONNX order, laid out for a tensor of that permutation."""
    return np.ascontiguousarray(np.transpose(array, perm)) if array.ndim else array
