"""One ONNX node while it is replaced: what an expansion may ask, and how it adds nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.graph.bodies import inlined, name_outputs
from edgewise.graph.read import attribute, constant

Array = npt.NDArray[Any]


class CannotExpand(Exception):
    """The node has no simpler form: why, and what the user can do about it."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.why, self.remedy = why, remedy


class Expansion:
    """Gathers the nodes that take the place of `node`, in order, each after what it reads.

    `loops` tells whether a Loop may be among them.
    """

    def __init__(self, node: ir.Node, opset: int, *, loops: bool = False) -> None:
        self.node = node
        self.opset = opset
        self.loops = loops
        self.nodes: list[ir.Node] = []
        self.constants: list[ir.Value] = []
        #: new nodes that are not to be expanded in their turn
        self.final: set[ir.Node] = set()
        self._stem = node.name or node.op_type

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
        """The static shape of an input. Raises CannotExpand"""
        rank = self.rank(index)
        return tuple(self.size(axis, index) for axis in range(rank))

    def rank(self, index: int = 0) -> int:
        """The number of axes of an input. Raises CannotExpand"""
        shape = self.input(index).shape
        if shape is None:
            raise _not_static(self.input(index))
        return len(shape)

    def size(self, axis: int, index: int = 0) -> int:
        """The static size of one axis of an input. Raises CannotExpand"""
        shape = self.input(index).shape
        if shape is None or not isinstance(shape[axis], int):
            raise _not_static(self.input(index))
        return int(shape[axis])  # type: ignore[arg-type]  # an int, checked above

    def dtype(self, index: int = 0) -> np.dtype[Any]:
        """The numpy type of an input. Raises CannotExpand"""
        found = self.input(index).dtype
        if found is None:
            raise CannotExpand("the type of its input is unknown", "Export the model again.")
        return found.numpy()

    def constant(self, index: int) -> Array | None:
        """The array of a constant input; None when it is computed or absent."""
        return constant(self.input(index)) if self.has(index) else None

    def known(self, index: int, what: str) -> Array:
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
        given = list(inputs)
        while given and given[-1] is None:
            given.pop()
        node = ir.node(
            op_type,
            given,
            attributes={k: v for k, v in attributes.items() if v is not None},
            num_outputs=outputs,
            name=f"{self._stem}/{op_type}_{len(self.nodes)}",
        )
        name_outputs(node)
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

    def number(self, number: float, index: int = 0) -> ir.Value:
        """A scalar constant of the type of an input."""
        return self.array(number, self.dtype(index))

    def reshape(self, value: ir.Value, dims: Sequence[int]) -> ir.Value:
        """The same elements in another shape; 0 keeps the size of that axis, -1 is what is left."""
        reshaped: ir.Value = self.op("Reshape", value, self.ints(dims))
        return reshaped

    def transpose(self, value: ir.Value, perm: Sequence[int]) -> ir.Value:
        """Axis k of the result is axis `perm[k]`; nothing is written where none moves."""
        if list(perm) == list(range(len(perm))):
            return value
        transposed: ir.Value = self.op("Transpose", value, perm=list(perm))
        return transposed

    def reduce(self, op_type: str, value: ir.Value, axes: Sequence[int]) -> ir.Value:
        """A reduction over axes, which stay with size 1."""
        reduced: ir.Value = self.op(op_type, value, self.ints(list(axes)), keepdims=1)
        return reduced

    def ints(self, numbers: Sequence[int] | int) -> ir.Value:
        """An int64 constant: a vector from a sequence, a scalar from one number."""
        return self.array(numbers, np.int64)

    # ---- bodies of control flow

    def inner(self, name: str) -> Expansion:
        """For the nodes of a body; its constants are those of this expansion."""
        inner = Expansion(self.node, self.opset, loops=self.loops)
        inner.constants, inner.final = self.constants, self.final
        inner._stem = f"{self._stem}/{name}"
        return inner

    def keep(self, value: ir.Value) -> None:
        """Do not expand the new node that computes the value."""
        node = value.producer()
        if node is not None:
            self.final.add(node)

    def parameter(self, name: str, dtype: ir.DataType, dims: Sequence[int]) -> ir.Value:
        """An input of the body that this expansion is for."""
        return ir.Value(
            name=f"{self._stem}/{name}", shape=ir.Shape(list(dims)), type=ir.TensorType(dtype)
        )

    def body(
        self,
        inputs: Sequence[ir.Value],
        outputs: Sequence[tuple[ir.Value, ir.DataType, Sequence[int]]],
    ) -> ir.Graph:
        """The nodes so far as a body; outputs with their type and shape."""
        results = []
        made = {value for node in self.nodes for value in node.outputs}
        for value, dtype, dims in outputs:
            own = value if value in made and value not in results else self.op("Identity", value)
            own.shape, own.type = ir.Shape(list(dims)), ir.TensorType(dtype)
            results.append(own)
        return ir.Graph(inputs, results, nodes=self.nodes, name=self._stem)

    def inline(self, body: ir.Graph, values: Sequence[ir.Value]) -> list[ir.Value]:
        """Append a copy of a body's nodes with `values` as its inputs; gives its outputs."""
        copy = inlined(body, values, f"{self._stem}/{len(self.nodes)}")
        self.constants.extend(copy.constants)
        self.nodes.extend(copy.nodes)
        return copy.results


def _not_static(value: ir.Value) -> CannotExpand:
    found = "unknown" if value.shape is None else str(tuple(str(dim) for dim in value.shape))
    return CannotExpand(
        f"the shape of its input '{value.name}' is not static: {found}",
        "Give fixed input shapes ([model] input_shapes, or --input-shape).",
    )
