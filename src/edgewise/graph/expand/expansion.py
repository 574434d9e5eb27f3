"""One ONNX node while it is replaced: what an expansion may ask, and how it adds nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.graph.read import attribute, constant, static_shape


class CannotExpand(Exception):
    """The node has no simpler form: why, and what the user can do about it."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.why, self.remedy = why, remedy


class Expansion:
    """Gathers the nodes that take the place of `node`, in order, each after what it reads."""

    def __init__(self, node: ir.Node) -> None:
        self.node = node
        self.nodes: list[ir.Node] = []
        self.constants: list[ir.Value] = []

    # ---- what stands there

    def attribute(self, name: str, default: Any = None) -> Any:
        return attribute(self.node, name, default)

    def has(self, index: int) -> bool:
        """Whether the optional input is there."""
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def input(self, index: int) -> ir.Value:
        """An input that must be there. Raises CannotExpand"""
        value = self.node.inputs[index] if index < len(self.node.inputs) else None
        if value is None:
            raise CannotExpand(f"input {index} is missing", "Export the model again.")
        return value

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """The static shape of an input. Raises ModelError"""
        return static_shape(self.input(index))

    def constant(self, index: int) -> npt.NDArray[Any] | None:
        """The array of a constant input; None when it is computed or absent."""
        return constant(self.input(index)) if self.has(index) else None

    def known(self, index: int, what: str) -> npt.NDArray[Any]:
        """The array of an input that must be known in advance. Raises CannotExpand"""
        array = self.constant(index)
        if array is None:
            raise CannotExpand(f"its {what} must be constant", "Export with static shapes.")
        return array

    def wants(self, index: int) -> bool:
        """Whether anything reads that output."""
        if index >= len(self.node.outputs):
            return False
        output = self.node.outputs[index]
        return bool(output.uses()) or output.is_graph_output()

    # ---- what takes its place

    def op(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        outputs: int = 1,
        **attributes: Any,
    ) -> Any:
        """Append a node of the model's own opset; gives its output, or a tuple of several."""
        node = ir.node(
            op_type,
            list(inputs),
            attributes={k: v for k, v in attributes.items() if v is not None},
            num_outputs=outputs,
            name=f"{self.node.name}/{op_type}_{len(self.nodes)}",
        )
        self.nodes.append(node)
        return node.outputs[0] if outputs == 1 else tuple(node.outputs)

    def array(self, array: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> ir.Value:
        """A constant; numbers become int64 or float32 unless `dtype` says otherwise."""
        found = np.asarray(array, dtype=dtype)
        if dtype is None and found.dtype == np.float64:
            found = found.astype(np.float32)
        tensor = ir.tensor(found)
        value = ir.Value(
            name=f"{self.node.name}/constant_{len(self.constants)}",
            shape=ir.Shape(found.shape),
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        self.constants.append(value)
        return value

    def ints(self, numbers: Sequence[int] | int) -> ir.Value:
        """An int64 constant: a vector from a sequence, a scalar from one number."""
        return self.array(numbers, np.int64)
