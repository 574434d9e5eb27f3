"""Reading QuantizeLinear and DequantizeLinear nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.graph.read import attribute, constant, node_label

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True, slots=True, eq=False)
class TensorQuantization:
    """`real = (quantized - zero_point) * scale`.

    `scale` is float32 and `zero_point` has the quantized dtype; both are scalars (per tensor),
    vectors along `axis` (per channel), or have the data's rank with `block_size` (per block).
    """

    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[Any]
    axis: int | None = None
    block_size: int = 0

    @property
    def per_tensor(self) -> bool:
        return self.scale.ndim == 0

    def same_as(self, other: TensorQuantization) -> bool:
        """Exactly the same mapping, bit by bit."""
        return (
            self.axis == other.axis
            and self.block_size == other.block_size
            and self.zero_point.dtype == other.zero_point.dtype
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )

    def dequantize(self, quantized: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The float32 values that `quantized` stands for."""
        scale, zero = self._spread(self.scale, quantized), self._spread(self.zero_point, quantized)
        centred = quantized.astype(np.int32) - zero.astype(np.int32)
        return np.asarray(np.multiply(centred, scale, dtype=np.float32))  # 0-d gives a scalar

    def quantize(self, real: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """The integers that QuantizeLinear stores: rounded half to even, then saturated."""
        scale, zero = self._spread(self.scale, real), self._spread(self.zero_point, real)
        steps = np.rint(real / scale).astype(np.float64) + zero.astype(np.float64)
        limits = ml_dtypes.iinfo(self.zero_point.dtype)  # type: ignore[no-untyped-call]
        return np.asarray(np.clip(steps, limits.min, limits.max)).astype(self.zero_point.dtype)

    def _spread(self, part: npt.NDArray[Any], data: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if part.ndim == 0 or self.axis is None:
            return part
        if self.block_size:
            repeated = np.repeat(part, self.block_size, axis=self.axis)
            return repeated.take(range(data.shape[self.axis]), axis=self.axis)
        shape = [1] * data.ndim
        shape[self.axis] = -1
        return part.reshape(shape)


def quantization_of(node: ir.Node) -> TensorQuantization:
    """The parameters of a QuantizeLinear or DequantizeLinear node.

    A one-element scale counts as per tensor. Raises ModelError when they are not constants.
    """
    scale = constant(node.inputs[1])
    zero_input = node.inputs[2] if len(node.inputs) > 2 else None
    zero = constant(zero_input)
    if scale is None or (zero_input is not None and zero is None):
        raise ModelError(
            "scale and zero point must be constants",
            where=f"node '{node_label(node)}' ({node.op_type})",
            remedy="Quantize statically.",
        )
    if zero is None:
        quantized = node.inputs[0] if node.op_type == DEQUANTIZE else node.outputs[0]
        known = None if quantized is None or quantized.dtype is None else quantized.dtype.numpy()
        zero = np.zeros(scale.shape, known or np.uint8)
    block_size = int(attribute(node, "block_size", 0))
    if scale.size == 1 and not block_size:
        return TensorQuantization(scale.astype(np.float32).reshape(()), zero.reshape(()))
    axis = int(attribute(node, "axis", 1))
    data = node.inputs[0]
    if axis < 0 and data is not None and data.shape is not None:
        axis += len(data.shape)
    return TensorQuantization(scale.astype(np.float32), zero, axis, block_size)


def activation_dtypes(model: ir.Model) -> frozenset[str]:
    """What computed tensors between Q and DQ are stored as; empty where only weights are."""
    found = set()
    for node in model.graph:
        if node.op_type not in (QUANTIZE, DEQUANTIZE) or constant(node.inputs[0]) is not None:
            continue
        data = node.inputs[0]
        weight = None if data is None else data.producer()
        if node.op_type == DEQUANTIZE and weight is not None and weight.op_type == QUANTIZE:
            continue  # counted with its Q, which may read a constant
        found.add(quantization_of(node).zero_point.dtype.name)
    return frozenset(found)


def is_quantized_model(model: ir.Model) -> bool:
    """Whether the graph holds at least one QuantizeLinear or DequantizeLinear."""
    return any(node.op_type in (QUANTIZE, DEQUANTIZE) for node in model.graph)
