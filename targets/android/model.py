"""A TFLite graph in memory, before it is written: tensors, operators, quantization."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from edgewise.targets.android.kinds import version_for

Array = npt.NDArray[Any]

INT4: np.dtype[Any] = np.dtype(ml_dtypes.int4)
INT8: np.dtype[Any] = np.dtype(np.int8)
INT16: np.dtype[Any] = np.dtype(np.int16)
INT32: np.dtype[Any] = np.dtype(np.int32)
INT64: np.dtype[Any] = np.dtype(np.int64)
#: what activations of an integer kernel are stored as (uint8 at the ends of a graph only)
STORED_DTYPES = (INT8, INT16)


@dataclass(frozen=True, slots=True, eq=False)
class Quantization:
    """`real = (quantized - zero_point) * scale`, per tensor or along `axis`.

    `scale` is float32 and `zero_point` int64, both of shape (1,) or (channels,); `dtype` is that of
    the tensor, int8 where nothing else is said.
    """

    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int64]
    axis: int = 0
    dtype: np.dtype[Any] = INT8

    @classmethod
    def per_tensor(
        cls, scale: float | np.float32, zero_point: int, dtype: np.dtype[Any] = INT8
    ) -> Quantization:
        return cls(np.array([scale], np.float32), np.array([zero_point], np.int64), 0, dtype)

    @classmethod
    def symmetric(cls, scale: Array, axis: int = 0, dtype: np.dtype[Any] = INT8) -> Quantization:
        """Zero points 0; `scale` is a scalar or a vector along `axis`."""
        flat = np.atleast_1d(np.asarray(scale, np.float32))
        return cls(flat, np.zeros(flat.shape, np.int64), axis if flat.size > 1 else 0, dtype)

    @property
    def is_per_tensor(self) -> bool:
        return self.scale.size == 1

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest integer of the stored type."""
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)

    @property
    def real_range(self) -> tuple[float, float]:
        """The smallest and the largest value that a tensor of these parameters holds."""
        scale, zero = float(self.scale[0]), int(self.zero_point[0])
        low, high = self.limits
        return (low - zero) * scale, (high - zero) * scale

    def same_as(self, other: Quantization | None) -> bool:
        """Exactly the same mapping, bit by bit."""
        return (
            other is not None
            and self.dtype == other.dtype
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
            and (self.is_per_tensor or self.axis == other.axis)
        )

    def quantize(self, real: npt.ArrayLike) -> Array:
        """Per tensor, as ONNX QuantizeLinear: divide in float32, half to even, saturate."""
        with np.errstate(over="ignore"):  # an infinite quotient saturates like any large one
            steps = np.rint(np.asarray(real, np.float32) / self.scale[0]) + self.zero_point[0]
        quantized: Array = np.clip(steps, *self.limits).astype(self.dtype)
        return quantized


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Scales of a matrix (rows, columns) in blocks: a float16 constant of shape (rows, columns /
    size), without zero points."""

    scales: Tensor
    size: int


@dataclass(slots=True, eq=False)
class Tensor:
    """`shape` is the physical one; a constant has `data` of that shape and dtype, and int4 weights
    may have `blocks` in place of a quantization.

    `name` stays empty until something gives it a meaning; the writer makes names unique.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    quantization: Quantization | None = None
    data: Array | None = None
    name: str = ""
    #: the shape with -1 for what a resized input changes; None where nothing does
    shape_signature: tuple[int, ...] | None = None
    blocks: Blocks | None = None


@dataclass(slots=True, eq=False)
class Operator:
    """One TFLite operator; `origin` is the label of the ONNX node that it comes from."""

    kind: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    options: dict[str, Any] = field(default_factory=dict)
    version: int = 1
    origin: str = ""
    #: subgraphs that the operator runs, by the option that holds their number
    bodies: dict[str, Graph] = field(default_factory=dict)

    @property
    def stored_dtype(self) -> np.dtype[Any] | None:
        """int8 or int16 where an integer kernel of that type runs: its activations' dtype. Of a
        conversion between the two, the wider one; None for a kernel that computes in float."""
        found = {
            t.dtype
            for t in (*self.inputs, *self.outputs)
            if t.data is None and t.quantization is not None and t.dtype in STORED_DTYPES
        }
        return INT16 if INT16 in found else INT8 if found else None

    @property
    def is_int8(self) -> bool:
        return self.stored_dtype == INT8


@dataclass(slots=True, eq=False)
class Graph:
    """Operators in execution order, with the tensors at both ends and their public names."""

    operators: list[Operator] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    input_names: list[str] = field(default_factory=list)
    output_names: list[str] = field(default_factory=list)

    def add(
        self,
        kind: str,
        inputs: list[Tensor],
        outputs: list[Tensor],
        origin: str,
        version: int | None,
        options: dict[str, Any],
    ) -> Operator:
        """Append an operator of the lowest version that knows its dtypes, or of `version` where a
        feature asks for a higher one."""
        operator = Operator(kind, tuple(inputs), tuple(outputs), options, 1, origin)
        if kind in ("ADD", "SUB") and operator.stored_dtype == INT16:
            # by default, powers of two get a kernel of an LSTM's cell, which wants certain ratios
            operator.options = {**options, "potScaleInt16": False}
        operator.version = max(version_for(kind, operator.stored_dtype), version or 1)
        self.operators.append(operator)
        return operator

    def remove_dead(self) -> None:
        """Drop operators whose outputs nothing needs."""
        needed = set(self.outputs)
        kept: list[Operator] = []
        for operator in reversed(self.operators):
            if any(output in needed for output in operator.outputs):
                kept.append(operator)
                needed.update(operator.inputs)
        self.operators = kept[::-1]

    def all_graphs(self) -> list[Graph]:
        """This one and all bodies inside, a graph before its bodies."""
        found = [self]
        for operator in self.operators:
            for body in operator.bodies.values():
                found.extend(body.all_graphs())
        return found

    def tensors(self) -> list[Tensor]:
        """Every tensor in use: graph inputs first, then in order of first use; block scales follow
        what they belong to."""
        found = dict.fromkeys(self.inputs)
        for operator in self.operators:
            for tensor in (*operator.inputs, *operator.outputs):
                found[tensor] = None
                if tensor.blocks is not None:
                    found[tensor.blocks.scales] = None
        found.update(dict.fromkeys(self.outputs))
        return list(found)
