"""Adding tensors and operators to a graph: layout changes, Q/DQ, and activation bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgewise.targets.android.layout import Perm, Value, identity
from edgewise.targets.android.model import INT8 as INT8
from edgewise.targets.android.model import INT32 as INT32
from edgewise.targets.android.model import Array, Graph, Quantization, Tensor

FLOAT32: np.dtype[Any] = np.dtype(np.float32)

Bounds = tuple[float, float]

#: bounds that have an operator of their own
_CLAMP_KINDS: dict[Bounds, str] = {
    (0.0, math.inf): "RELU",
    (0.0, 6.0): "RELU6",
    (-1.0, 1.0): "RELU_N1_TO_1",
    (0.0, 1.0): "RELU_0_TO_1",
}
_INTEGER_CLAMP_KINDS = ("RELU", "RELU6")


class Builder:
    """Writes into one graph; `origin` labels what is added with the node it is for."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.origin = ""
        self._small_constants: dict[tuple[bytes, tuple[int, ...], str], Tensor] = {}
        self._reordered: dict[tuple[Tensor, Perm], Tensor] = {}
        self._dequantized: dict[Tensor, Tensor] = {}

    def constant(
        self, array: Array, name: str = "", quantization: Quantization | None = None
    ) -> Tensor:
        """A constant tensor; small unquantized ones are shared."""
        array = np.asarray(array, order="C")  # ascontiguousarray would turn a scalar into a vector
        key = (array.tobytes() if array.nbytes <= 64 else b"", array.shape, array.dtype.str)
        shareable = bool(key[0]) and quantization is None and not name
        if shareable and key in self._small_constants:
            return self._small_constants[key]
        tensor = Tensor(array.shape, array.dtype, quantization, array, name)
        if shareable:
            self._small_constants[key] = tensor
        return tensor

    def ints(self, numbers: Sequence[int] | int) -> Tensor:
        """A constant int32 scalar or vector."""
        return self.constant(np.array(numbers, np.int32))

    def float_scalar(self, number: float) -> Tensor:
        return self.constant(np.array(number, np.float32))

    def add(
        self,
        kind: str,
        inputs: Sequence[Tensor | Value],
        shape: Sequence[int],
        dtype: np.dtype[Any],
        quantization: Quantization | None = None,
        *,
        version: int | None = None,
        **options: Any,
    ) -> Tensor:
        """Append an operator with one output of that physical shape; gives the output."""
        output = Tensor(tuple(int(dim) for dim in shape), dtype, quantization)
        tensors = [item.tensor if isinstance(item, Value) else item for item in inputs]
        self.graph.add(kind, tensors, [output], self.origin, version, options)
        return output

    def like(
        self,
        kind: str,
        inputs: Sequence[Tensor | Value],
        model: Value,
        *,
        shape: Sequence[int] | None = None,
        **options: Any,
    ) -> Value:
        """Append an operator whose output has the dtype, quantization and order of `model`.

        `shape` is the physical one (that of `model` by default).
        """
        physical = model.tensor.shape if shape is None else shape
        out = self.add(kind, inputs, physical, model.dtype, model.quantization, **options)
        return Value(out, model.perm)

    def reshape(self, tensor: Tensor, shape: Sequence[int]) -> Tensor:
        """The same elements in memory order under another physical shape."""
        return tensor if tuple(shape) == tensor.shape else self.copy(tensor, shape)

    def copy(self, tensor: Tensor, shape: Sequence[int]) -> Tensor:
        """As `reshape`, but a tensor of its own even where the shape stays."""
        dims = np.array(shape, np.int32)
        # newShape is an option as well as an input: vendor compilers read it, kernels the input
        return self.add(
            "RESHAPE",
            [tensor, self.constant(dims)],
            shape,
            tensor.dtype,
            tensor.quantization,
            newShape=dims,
        )

    def reorder(self, value: Value, perm: Perm) -> Value:
        """The value with its axes in that order in memory; free when it already is."""
        if value.perm == perm:
            return value
        moves = tuple(value.perm.index(axis) for axis in perm)
        key = (value.tensor, moves)
        if key not in self._reordered:
            self._reordered[key] = self._transpose(value, moves)
        return Value(self._reordered[key], perm)

    def _transpose(self, value: Value, moves: Perm) -> Tensor:
        tensor = value.tensor
        shape = [tensor.shape[axis] for axis in moves]
        long_axes = [axis for axis in moves if tensor.shape[axis] != 1]
        if long_axes == sorted(long_axes):  # only axes of size 1 move: memory stays as it is
            return self.reshape(tensor, shape)
        return self.add(
            "TRANSPOSE", [tensor, self.ints(moves)], shape, tensor.dtype, tensor.quantization
        )

    def linear(self, value: Value) -> Value:
        """The value in ONNX axis order."""
        return self.reorder(value, identity(value.rank))

    def with_rank(self, value: Value, rank: int) -> Value:
        """Leading axes of size 1 added, as broadcasting does."""
        missing = rank - value.rank
        if missing <= 0:
            return value
        shape = (1,) * missing + value.tensor.shape
        perm = identity(missing) + tuple(axis + missing for axis in value.perm)
        return Value(self.reshape(value.tensor, shape), perm)

    def dequantize(self, value: Value) -> Value:
        """The float32 value of a quantized one."""
        if value.quantization is None:
            return value
        if value.tensor not in self._dequantized:
            self._dequantized[value.tensor] = self.add(
                "DEQUANTIZE", [value], value.tensor.shape, FLOAT32
            )
        return Value(self._dequantized[value.tensor], value.perm)

    def quantize(self, value: Value, quantization: Quantization) -> Value:
        """Float32 to integers, or integers to other parameters; free when they are the same."""
        if quantization.same_as(value.quantization):
            return value
        version = None if value.quantization is None else 2
        out = self.add(
            "QUANTIZE",
            [value],
            value.tensor.shape,
            quantization.dtype,
            quantization,
            version=version,
        )
        return Value(out, value.perm)

    def clamp(self, value: Value, bounds: Bounds) -> Value:
        """`min(max(value, low), high)`; nothing when a quantized range lies inside the bounds."""
        if value.quantization is not None:
            return self._clamp_integers(value, value.quantization, bounds)
        if bounds in _CLAMP_KINDS:
            return self.like(_CLAMP_KINDS[bounds], [value], value)
        low, high = bounds
        if low != -math.inf:
            value = self.like("MAXIMUM", [value, self.float_scalar(low)], value)
        if high != math.inf:
            value = self.like("MINIMUM", [value, self.float_scalar(high)], value)
        return value

    def _clamp_integers(self, value: Value, quantization: Quantization, bounds: Bounds) -> Value:
        steps, whole = quantized_bounds(quantization, bounds), quantization.limits
        if steps == whole:
            return value
        if _CLAMP_KINDS.get(bounds) in _INTEGER_CLAMP_KINDS:
            return self.like(_CLAMP_KINDS[bounds], [value], value)
        for kind, step, neutral in zip(("MAXIMUM", "MINIMUM"), steps, whole, strict=True):
            if step != neutral:
                limit = self.constant(np.array(step, value.dtype), quantization=quantization)
                value = self.like(kind, [value, limit], value)
        return value


def quantized_bounds(quantization: Quantization, bounds: Bounds) -> tuple[int, int]:
    """The integers of two real bounds, saturated; infinities give the ends of the range."""
    low, high = quantization.quantize(np.array(bounds, np.float32))
    return int(low), int(high)
