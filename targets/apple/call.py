"""What a lowering gets to see: one node, its operands, and the ways to refuse it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.errors import UnsupportedOperator
from edgewise.graph import attribute, node_label
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var, types
from edgewise.targets.apple.deployment import System
from edgewise.targets.apple.weights import QuantizedConstant

Array = npt.NDArray[Any]
#: a computed value, a constant, or a quantized constant
Operand: TypeAlias = Var | Array | QuantizedConstant

#: a body and its inputs to its outputs
LowerBody: TypeAlias = Callable[[ir.Graph, Sequence[Operand]], list[Operand]]

TARGET_NAME = "Core ML"
_INT32 = np.iinfo(np.int32)


class Lower(Protocol):
    """Adds the operations of one node to the program under construction.

    Gives one operand per output of the node (a single one need not be wrapped). Raises
    UnsupportedOperator where Core ML cannot express the node.
    """

    def __call__(self, call: Call) -> Operand | Sequence[Operand]: ...


def refusal(node: ir.Node, why: str, remedy: str) -> UnsupportedOperator:
    return UnsupportedOperator(
        node_label(node), node.op_type, target=TARGET_NAME, why=why, remedy=remedy
    )


def as_float32(array: Array) -> Array:
    """Floating-point constants enter the program as float32; the fp16 pass narrows them later."""
    return array.astype(np.float32) if array.dtype.kind == "f" else array


class Call:
    """One node on its way into the program. Inputs are numbered as in the ONNX specification."""

    def __init__(
        self,
        node: ir.Node,
        operands: Mapping[ir.Value, Operand],
        name: str,
        system: System,
        lower_body: LowerBody,
    ) -> None:
        self.node = node
        #: lowers a body of control flow, its inputs given, in the block under construction
        self.lower_body = lower_body
        #: the oldest system that must run the package: its operations are those at hand
        self.system = system
        #: identifier for the operation that computes the first output
        self.name = name
        self._operands = operands

    def refuse(self, why: str, remedy: str) -> NoReturn:
        raise refusal(self.node, why, remedy)

    def attribute(self, name: str, default: Any = None) -> Any:
        return attribute(self.node, name, default)

    @property
    def input_count(self) -> int:
        return len(self.node.inputs)

    def has(self, index: int) -> bool:
        """Whether the input is given."""
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def operand(self, index: int) -> Operand:
        value = self.node.inputs[index]
        if value is None:
            self.refuse(f"input {index} is missing", "Export the model again.")
        return self._operands[value]

    def shape(self, index: int) -> tuple[int, ...]:
        return tuple(int(dim) for dim in self.operand(index).shape)

    def rank(self, index: int) -> int:
        return len(self.shape(index))

    def var(self, index: int) -> Var:
        """The input as a value of the program; constants are added to it."""
        return emit(self.operand(index))

    def is_constant(self, index: int) -> bool:
        return not isinstance(self.operand(index), Var)

    def array(self, index: int, what: str) -> Array:
        """The input as a constant array, a quantized one dequantized to float32."""
        operand = self.operand(index)
        if isinstance(operand, Var):
            self.refuse(
                f"its {what} is computed at run time",
                f"Make the {what} a constant of the model.",
            )
        if isinstance(operand, QuantizedConstant):
            return operand.dequantize()
        return as_float32(operand)

    def scalar(self, index: int, what: str) -> float:
        return float(self.array(index, what).reshape(-1)[0])

    def ints(self, index: int, what: str) -> list[int]:
        return [int(item) for item in self.array(index, what).reshape(-1)]

    def is_float(self, index: int) -> bool:
        operand = self.operand(index)
        if isinstance(operand, Var):
            return operand.dtype in (types.fp32, types.fp16)
        return isinstance(operand, QuantizedConstant) or operand.dtype.kind == "f"

    def wants_output(self, index: int) -> bool:
        """Whether an optional output is given and used."""
        if index >= len(self.node.outputs):
            return False
        output = self.node.outputs[index]
        return bool(output.uses()) or output.is_graph_output()


def emit(operand: Operand) -> Var:
    """Any operand as a value of the program under construction."""
    if isinstance(operand, Var):
        return operand
    if isinstance(operand, QuantizedConstant):
        return operand.emit()
    return mb.const(val=core_ml_array(operand))


def named(name: str | None) -> dict[str, str]:
    """The `name` argument of an operation; without one, MIL makes a name up."""
    return {} if name is None else {"name": name}


def core_ml_array(array: Array) -> Any:
    """A constant in the types that MIL computes with: float32, int32 (saturated) or bool."""
    array = as_float32(array)
    if array.dtype.kind in "iu":
        array = np.clip(array, _INT32.min, _INT32.max).astype(np.int32)
    return np.ascontiguousarray(array) if array.ndim else array[()]
