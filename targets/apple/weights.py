"""A quantized constant that stays symbolic until an operator needs it.

Core ML keeps quantized weights as `constexpr` operations. Between the initializer and the operator
stand layout changes (Gemm wants its weight transposed): they are applied to the stored integers, so
that no transpose of a dequantized constant reaches the package.

Two forms (MIL specification):
1. `constexpr_affine_dequantize` (iOS 16): int8 or uint8; scale and zero point are scalars or
   vectors along one axis. A scalar needs an axis all the same.
2. `constexpr_blockwise_shift_scale` (iOS 18), which Apple's own tools use from there on: 4 or 8
   bits; scale and offset have the rank of the data, and each of their sizes divides the data's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from edgewise.graph import TensorQuantization
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var, types
from edgewise.targets.apple.deployment import System, is_older

Array = npt.NDArray[Any]

#: stored type -> how coremltools holds it
_HELD_AS = {
    np.dtype(ml_dtypes.int4): types.np_int4_dtype,
    np.dtype(ml_dtypes.uint4): types.np_uint4_dtype,
    np.dtype(np.int8): np.dtype(np.int8),
    np.dtype(np.uint8): np.dtype(np.uint8),
}
STORED_TYPES: frozenset[Any] = frozenset(_HELD_AS)
_BYTES = (np.dtype(np.int8), np.dtype(np.uint8))
_BLOCKWISE: System = "iOS18"


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedConstant:
    """`data` of rank 1 or more, in one of `STORED_TYPES`.

    `scale` and `zero_point` have one shape of the same rank, each size of which divides the data's:
    all ones per tensor, the length of one axis per channel, the number of blocks per block.
    """

    data: Array
    scale: Array
    zero_point: Array
    system: System

    @classmethod
    def of(cls, data: Array, quantization: TensorQuantization, system: System) -> QuantizedConstant:
        scale, zero = quantization.scale, quantization.zero_point
        if quantization.block_size:
            grids = [_even_blocks(part, data.shape, quantization) for part in (scale, zero)]
        else:
            grid = [1] * data.ndim
            if quantization.axis is not None:
                grid[quantization.axis] = -1
            grids = [part.reshape(grid) for part in (scale, zero)]
        return cls(data, *_without_repetition(*grids), system)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def fits_system(self) -> bool:
        """Whether the system has a form for it."""
        return not is_older(self.system, _BLOCKWISE) or self._is_affine

    def dequantize(self) -> npt.NDArray[np.float32]:
        scale, zero = (_spread(part, self.shape) for part in (self.scale, self.zero_point))
        centred = self.data.astype(np.int32) - zero.astype(np.int32)
        return np.multiply(centred, scale, dtype=np.float32)

    def transpose(self, perm: Sequence[int]) -> QuantizedConstant:
        return self._with(*(part.transpose(perm) for part in self._parts))

    def expand(self, axis: int) -> QuantizedConstant:
        """With an axis of one element."""
        return self._with(*(np.expand_dims(part, axis) for part in self._parts))

    def reshape(self, shape: Sequence[int]) -> QuantizedConstant | None:
        """The same values in another shape; None when an axis with scales would not survive."""
        grid = [1] * len(shape)
        for axis, count in enumerate(self.scale.shape):
            if count == 1:
                continue
            before = math.prod(self.shape[:axis])
            moved = [
                candidate
                for candidate, size in enumerate(shape)
                if size == self.shape[axis] and math.prod(shape[:candidate]) == before
            ]
            if not moved:
                return None
            grid[moved[0]] = count
        parts = (self.data.reshape(shape), self.scale.reshape(grid), self.zero_point.reshape(grid))
        return self._with(*parts)

    def emit(self) -> Var:
        """The constant as an operation of the program under construction."""
        held = _HELD_AS[self.data.dtype]
        data, zero = (
            np.ascontiguousarray(part).astype(held) for part in (self.data, self.zero_point)
        )
        if is_older(self.system, _BLOCKWISE):  # case 1
            axis = next((axis for axis, count in enumerate(self.scale.shape) if count > 1), None)
            scale, zero = (
                part.reshape(()) if axis is None else part.reshape(-1)
                for part in (self.scale, zero)
            )
            return mb.constexpr_affine_dequantize(
                quantized_data=data,
                scale=scale if scale.ndim else scale[()],
                zero_point=zero if zero.ndim else zero[()],
                axis=np.int32(axis or 0),
            )
        offset = {"offset": zero} if self.zero_point.any() else {}
        scale = np.ascontiguousarray(self.scale)
        return mb.constexpr_blockwise_shift_scale(data=data, scale=scale, **offset)  # case 2

    @property
    def _parts(self) -> tuple[Array, Array, Array]:
        return self.data, self.scale, self.zero_point

    @property
    def _is_affine(self) -> bool:
        """Whether case 1 can hold it."""
        shared = [axis for axis, count in enumerate(self.scale.shape) if count > 1]
        whole = not shared or self.scale.size == self.shape[shared[0]]
        return self.data.dtype in _BYTES and len(shared) <= 1 and whole

    def _with(self, data: Array, scale: Array, zero_point: Array) -> QuantizedConstant:
        return QuantizedConstant(data, scale, zero_point, self.system)


def _even_blocks(part: Array, shape: Sequence[int], quantization: TensorQuantization) -> Array:
    """One entry per block of a size that divides the axis: ONNX may leave the last block short."""
    axis = quantization.axis or 0
    length, block = shape[axis], quantization.block_size
    even = math.gcd(length, block)
    starts = np.arange(0, length, even) // block
    return part.take(starts, axis=axis)


def _without_repetition(scale: Array, zero: Array) -> tuple[Array, Array]:
    """One entry where all along an axis are the same: ONNX blocks share scales along one axis only,
    those of a convolution along several."""
    for axis in range(scale.ndim):
        first = [part.take([0], axis=axis) for part in (scale, zero)]
        if (scale == first[0]).all() and (zero == first[1]).all():
            scale, zero = first
    return scale, zero


def _spread(part: Array, shape: Sequence[int]) -> Array:
    for axis, (count, size) in enumerate(zip(part.shape, shape, strict=True)):
        if 1 < count < size:
            part = np.repeat(part, size // count, axis=axis)
    return part
