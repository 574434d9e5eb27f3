"""A quantized constant that stays symbolic until an operator needs it.

Core ML keeps int8 weights as `constexpr_affine_dequantize` operations. Between the initializer and
the operator stand layout changes (Gemm wants its weight transposed): they are applied to the stored
integers, so that no transpose of a dequantized constant reaches the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewise.graph import TensorQuantization
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedConstant:
    """int8 or uint8 `data` of rank 1 or more, per tensor or per channel."""

    data: Array
    quantization: TensorQuantization

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def dequantize(self) -> npt.NDArray[np.float32]:
        return self.quantization.dequantize(self.data)

    def transpose(self, perm: Sequence[int]) -> QuantizedConstant:
        axis = self.quantization.axis
        moved = None if axis is None else list(perm).index(axis)
        return self._with(self.data.transpose(perm), moved)

    def reshape(self, shape: Sequence[int]) -> QuantizedConstant | None:
        """The same values in another shape; None when the channel axis would not survive."""
        axis = self.quantization.axis
        if axis is None:
            return self._with(self.data.reshape(shape), None)
        before = int(np.prod(self.data.shape[:axis]))
        for candidate, size in enumerate(shape):
            if size == self.data.shape[axis] and int(np.prod(shape[:candidate])) == before:
                return self._with(self.data.reshape(shape), candidate)
        return None

    def emit(self) -> Var:
        """The constant as an operation of the program under construction.

        MIL specification, `constexpr_affine_dequantize` (iOS 16): scale and zero point are scalars
        or vectors along `axis`; a scalar needs an axis all the same.
        """
        scale, zero = self.quantization.scale, self.quantization.zero_point
        return mb.constexpr_affine_dequantize(
            quantized_data=np.ascontiguousarray(self.data),
            scale=scale if scale.ndim else scale[()],
            zero_point=zero if zero.ndim else zero[()],
            axis=np.int32(self.quantization.axis or 0),
        )

    def _with(self, data: Array, axis: int | None) -> QuantizedConstant:
        old = self.quantization
        return QuantizedConstant(data, TensorQuantization(old.scale, old.zero_point, axis))
