"""One ONNX node while it is lowered: what a lowering function may ask, and how it hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.errors import UnsupportedOperator
from edgewise.findings import Finding
from edgewise.graph import TensorQuantization, attribute, node_label, static_shape
from edgewise.graph.expand import CannotExpand
from edgewise.targets.android.builder import Bounds, Builder
from edgewise.targets.android.kinds import fixed_output
from edgewise.targets.android.layout import Perm, Value, identity
from edgewise.targets.android.model import INT8, INT16, INT32, Array, Quantization, Tensor
from edgewise.targets.android.qdq import QdqPlan

#: what a constant beside int8 or int16 activations may be stored as
_CONSTANT_DTYPES = {INT8: ("int8", "uint8"), INT16: ("int8", "uint8", "int16", "uint16")}

#: fused activation of the schema, by the bounds it enforces
_FUSED: dict[Bounds, int] = {(0.0, np.inf): 1, (-1.0, 1.0): 2, (0.0, 6.0): 3}
NO_ACTIVATION = 0


@dataclass(slots=True)
class Context:
    """What all nodes of one lowering share."""

    plan: QdqPlan
    builder: Builder = field(default_factory=Builder)
    values: dict[ir.Value, Value] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    #: nodes without a lowering that could not be expanded either, and why
    declined: Mapping[ir.Node, CannotExpand] = field(default_factory=dict)
    #: values whose columns are permuted in the file: column k there is ONNX column order[k]
    column_orders: dict[ir.Value, Array] = field(default_factory=dict)
    #: nodes of a quantized model that compute in float: label -> operator, and why
    float_nodes: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: lowers every node of a graph, for operators with bodies
    lower_nodes: Callable[[Context, ir.Graph], None] = field(kw_only=True)


class Call:
    """A node, its operands as TFLite values, and the form its result must take.

    `int8` tells which kernel is wanted: when true, operands come quantized and the result is to
    be the integer tensor that the model's Q nodes prescribe. Its activations are stored as
    `stored`, int8 or int16; None when `int8` is false.
    """

    def __init__(
        self, context: Context, node: ir.Node, int8: bool, stored: np.dtype[Any] = INT8
    ) -> None:
        self.context = context
        self.node = node
        self.int8 = int8
        self.stored = stored if int8 else None
        self.builder = context.builder
        self.bounds = context.plan.bounds.get(node)
        self.builder.origin = node_label(node)

    @property
    def op_type(self) -> str:
        return self.node.op_type

    def attribute(self, name: str, default: Any = None) -> Any:
        return attribute(self.node, name, default)

    # ---- operands

    def has(self, index: int) -> bool:
        """Whether the optional input is there."""
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def source(self, index: int) -> ir.Value:
        """The ONNX value of an input that must be there."""
        value = self.node.inputs[index] if index < len(self.node.inputs) else None
        if value is None:
            raise self.refuse(f"input {index} is missing", "Export the model again.")
        return value

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """The ONNX shape of an input."""
        known = self.constant(index)
        return tuple(known.shape) if known is not None else static_shape(self.source(index))

    def constant(self, index: int) -> Array | None:
        """The (dequantized) array of a constant input; None when computed or absent."""
        return self.context.plan.constant(self.source(index)) if self.has(index) else None

    def known(self, index: int, what: str) -> Array:
        """The array of an input that TFLite needs to know in advance. Raises UnsupportedOperator"""
        array = self.constant(index)
        if array is None:
            raise self.refuse(
                f"its {what} must be constant in TFLite", "Export the model with static shapes."
            )
        return array

    def quantized_constant(self, index: int) -> tuple[Array, TensorQuantization] | None:
        return self.context.plan.quantized_constant(self.source(index)) if self.has(index) else None

    def operand(self, index: int) -> Value:
        """An input as a TFLite value: integers in an int8 call, float (or as it is) otherwise."""
        source = self.source(index)
        stored = self.context.plan.stored.get(source)
        if stored is not None and stored in self.context.values:
            value = self.context.values[stored]
            return value if self.int8 else self.builder.dequantize(value)
        if source in self.context.values:
            return self.context.values[source]
        if self.constant(index) is None:
            raise self.refuse(f"input '{source.name}' is never computed", "Check the model.")
        return self.constant_operand(index, identity(len(self.shape(index))))

    def numbers(self, index: int) -> Value:
        """An input to compute with: `operand`, or the very integers that ONNX has where nothing
        dequantizes them. A tensor may hold uint8 less 128."""
        value, source = self.operand(index), self.source(index)
        if self.int8 or value.quantization is None or source.dtype is None:
            return value
        add, shape = self.builder.add, value.tensor.shape
        wide = add("CAST", [value], shape, INT32)
        if source.dtype == ir.DataType.UINT8:
            wide = add("ADD", [wide, self.builder.ints(128)], shape, INT32)
        return Value(add("CAST", [wide], shape, np.dtype(source.dtype.numpy())), value.perm)

    def constant_operand(self, index: int, perm: Perm, rank: int | None = None) -> Value:
        """A constant input laid out in an order; `rank` adds leading axes of size 1 first."""
        quantization = None
        array = self.known(index, f"input {index}")
        if self.int8 and array.dtype == np.float32:
            array, quantization = self.integer_constant(index)
        wanted = len(perm) if rank is None else rank
        array = array.reshape((1,) * (wanted - array.ndim) + array.shape)
        moved = np.transpose(array, perm)
        name = self.source(index).name or ""
        return Value(self.builder.constant(moved, name, quantization), perm)

    def integer_constant(self, index: int) -> tuple[Array, Quantization]:
        """A per-tensor constant stored as activations are: the model's own integers, or one number
        made exact."""
        stored = self.stored or INT8
        found = integer_constant(self.context.plan, self.source(index), stored)
        if isinstance(found, str):
            raise self.refuse(found, f"Quantize the constant per tensor to {stored}.")
        return found

    # ---- result

    def output_shape(self, index: int = 0) -> tuple[int, ...]:
        """The ONNX shape of an output."""
        return static_shape(self.node.outputs[index])

    def output_dtype(self, index: int = 0) -> np.dtype[Any]:
        """The dtype of the tensor to write."""
        wanted = self.wanted(index)
        if wanted is not None:
            return wanted.dtype
        declared = self.node.outputs[index].dtype
        if declared is None:
            raise self.refuse("the type of its output is unknown", "Export the model again.")
        return np.dtype(declared.numpy())

    def wanted(self, index: int = 0) -> Quantization | None:
        """The parameters that the model prescribes for an output of an int8 call."""
        if not self.int8:
            return None
        return self.context.plan.realised.get(self.context.plan.result(self.node, index))

    def fixed_output(self, kind: str) -> Quantization | None:
        """The output parameters that an integer kernel of that kind prescribes, if it does."""
        fixed = fixed_output(kind, self.stored)
        return None if fixed is None else Quantization.per_tensor(*fixed, self.stored or INT8)

    def fused_activation(self) -> int:
        """The schema's fused activation for what this node absorbs; then counts it as done."""
        if self.bounds not in _FUSED:
            return NO_ACTIVATION
        bounds, self.bounds = self.bounds, None
        wanted = self.wanted()
        if wanted is not None:
            low, high = wanted.real_range
            half = float(wanted.scale[0]) / 2
            if bounds[0] <= low + half and bounds[1] >= high - half:
                return NO_ACTIVATION  # saturation of the quantized range does it
        return _FUSED[bounds]

    def write(
        self,
        kind: str,
        inputs: Sequence[Tensor | Value],
        perm: Perm,
        *,
        quantization: Quantization | None = None,
        shape: Sequence[int] | None = None,
        version: int | None = None,
        **options: Any,
    ) -> Value:
        """Append an operator with the node's first output as its result, not yet finished.

        `quantization` is what the kernel prescribes (by default what the model does); `shape` the
        ONNX shape (that of the output by default).
        """
        onnx_shape = self.output_shape() if shape is None else shape
        tensor = self.builder.add(
            kind,
            inputs,
            [onnx_shape[axis] for axis in perm],
            self.output_dtype(),
            self.wanted() if quantization is None and self.int8 else quantization,
            version=version,
            **options,
        )
        return Value(tensor, perm)

    def write_like(
        self, kind: str, inputs: Sequence[Tensor | Value], source: Value, perm: Perm, **options: Any
    ) -> Value:
        """`write` for a kernel that moves data: dtype and parameters stay those of `source`."""
        dims = self.output_shape()
        shape = [dims[axis] for axis in perm]
        out = self.builder.add(kind, inputs, shape, source.dtype, source.quantization, **options)
        return Value(out, perm)

    def finish(self, value: Value, index: int = 0) -> None:
        """Bring the result to its prescribed parameters and bounds, and publish it."""
        plan = self.context.plan
        target = plan.result(self.node, index)
        wanted = self.wanted(index)
        if wanted is not None:
            value = self.builder.quantize(value, wanted)
        if index == 0 and self.bounds is not None:
            value = self.builder.clamp(value, self.bounds)
        if not value.tensor.name and value.tensor.data is None:
            value.tensor.name = target.name or ""
        self.context.values[target] = value
        if wanted is not None:
            for use in target.uses():
                self.context.values[use.node.outputs[0]] = value

    # ---- remarks

    def refuse(self, why: str, remedy: str) -> UnsupportedOperator:
        """The error to raise when TFLite cannot express the node."""
        return UnsupportedOperator(
            node_label(self.node), self.op_type, target="android", why=why, remedy=remedy
        )

    def note(self, rule: str, message: str, remedy: str = "") -> None:
        """An `info` finding about this node."""
        label = node_label(self.node)
        self.context.findings.append(Finding(f"android/{rule}", "info", message, label, remedy))


def integer_constant(
    plan: QdqPlan, source: ir.Value, dtype: np.dtype[Any]
) -> tuple[Array, Quantization] | str:
    """A constant as int8 or int16 with per-tensor parameters, or why that is not possible.

    A float constant that holds a single number is exact with as many steps as the type has. int16
    has no zero point: integers of 8 bits less theirs fit.
    """
    stored = plan.quantized_constant(source)
    if stored is not None:
        integers, quantization = stored
        if not quantization.per_tensor:
            return f"constant '{source.name}' has one scale per channel"
        zero = int(quantization.zero_point) if dtype == INT8 else 0
        centre = int(quantization.zero_point) - zero
        if integers.dtype == np.uint8 and dtype == INT8:
            centre, zero = 128, zero - 128
        if integers.dtype not in _CONSTANT_DTYPES[dtype]:
            return f"constant '{source.name}' is stored as {integers.dtype}"
        moved = integers.astype(np.int32) - centre
        if moved.size and not -(2**15) <= moved.min() <= moved.max() < 2**15:
            return f"constant '{source.name}' does not fit {dtype} without its zero point"
        return moved.astype(dtype), Quantization.per_tensor(float(quantization.scale), zero, dtype)
    array = plan.constant(source)
    if array is None or array.dtype != np.float32 or not array.size:
        return f"input '{source.name}' is not quantized"
    number = float(array.flat[0])
    if not (array == array.flat[0]).all() or not np.isfinite(number):
        return f"constant '{source.name}' is not quantized"
    steps = np.iinfo(dtype).max
    scale = abs(number) / steps if number else 1.0
    integers = np.full(array.shape, round(number / scale), dtype)
    return integers, Quantization.per_tensor(scale, 0, dtype)
