"""fp16: float constants kept as float16, and convolutions that compute in float16.

1. Everywhere: a constant of at least 32 elements whose largest magnitude lies within 2**-14 and
   65504 is stored as float16. Where float32 is computed, a Cast gives it back, which ONNX Runtime
   folds as it loads the model.
2. With `compute = "fp16"`, groups of operators that hold a Conv take and give float16. Cores with
   float16 arithmetic (FEAT_FP16: Cortex-A55, -A76 and later) need 0.63 of the instructions of
   float32 for the digits sample. On other cores, and on x86, ONNX Runtime puts a Cast around each
   such operator, drops those that meet, and computes in float32.

Counted under emulation with onnxruntime 1.32, which has float16 kernels on ARM64 for Conv and the
operators of `_ALONG`. Not in float16, for all that: products of matrices, whose kernel packs its
weights again in every run (a vector times a matrix needs 4.7 times the instructions of float32);
AveragePool, for which such a core finds no kernel and refuses the file; Softmax, normalizations and
what else would be written out or lose digits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgewise.findings import Finding
from edgewise.graph import add_initializer, constant
from edgewise.graph.write import names_of_values

_MIN_ELEMENTS = 32
_SMALLEST = float(np.finfo(np.float16).smallest_normal)
_LARGEST = float(np.finfo(np.float16).max)

#: what makes a group worth it
_HEAVY = frozenset({"Conv"})
#: what computes in float16 next to it
_ALONG = frozenset(
    {
        "Add",
        "Clip",
        "Concat",
        "LeakyRelu",
        "Max",
        "MaxPool",
        "Min",
        "Mul",
        "Relu",
        "Slice",
        "Split",
        "Sub",
    }
)


def store_as_half(model: ir.Model) -> list[Finding]:
    """Case 1, in the main graph, in place; one finding tells of large constants that do not fit."""
    graph = model.graph
    taken = names_of_values(graph)
    left: list[str] = []
    for value in list(graph.initializers.values()):
        array = constant(value)
        if array is None or array.dtype != np.float32 or array.size < _MIN_ELEMENTS:
            continue
        if value.is_graph_output() or not value.uses():
            continue
        if not _fits(array):
            left.append(str(value.name))
            continue
        short = add_initializer(graph, f"{value.name}_half", array.astype(np.float16), taken)
        cast = _cast(short, ir.DataType.FLOAT, str(value.name))
        graph.insert_before(graph[0], cast)
        ir.convenience.replace_all_uses_with(value, cast.outputs[0])
        graph.initializers.pop(str(value.name))
        cast.outputs[0].name = value.name
    if not left:
        return []
    return [
        Finding(
            "arm/float32-constant",
            "info",
            f"{len(left)} constants stay float32, '{left[0]}' among them: float16 does not hold "
            "their magnitude",
            remedy="Scale the layer if its size matters.",
        )
    ]


def _fits(array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bool:
    largest = float(np.abs(array).max())
    return largest == 0.0 or _SMALLEST <= largest <= _LARGEST  # false where it is not a number


def compute_in_half(model: ir.Model) -> bool:
    """Case 2, in the main graph, in place; before case 1. Gives whether the model changed."""
    graph = model.graph
    groups = _groups([node for node in graph if _can(node)])
    chosen = {node for group in groups if any(n.op_type in _HEAVY for n in group) for node in group}
    writer = _Halves(graph, names_of_values(graph))
    for node in list(graph):
        if node in chosen:
            writer.take(node)
    return bool(chosen)


def _can(node: ir.Node) -> bool:
    """Whether all that a node computes with can be float16."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in _HEAVY | _ALONG:
        return False
    if node.op_type == "MaxPool" and len([out for out in node.outputs if out.name]) > 1:
        return False
    if any(out.dtype is not ir.DataType.FLOAT for out in node.outputs if out.name):
        return False
    for value in node.inputs:
        if value is None:
            continue
        if value.dtype is None:
            return False
        array = constant(value)
        if array is None or array.dtype != np.float32 or not array.size:
            continue
        if not float(np.abs(array).max()) <= _LARGEST:  # true where it is not a number
            return False
    return True


def _groups(nodes: Iterable[ir.Node]) -> list[list[ir.Node]]:
    """Nodes that hand each other values."""
    group = {node: [node] for node in nodes}
    for node in list(group):
        for value in node.inputs:
            source = None if value is None else value.producer()
            if source in group and group[source] is not group[node]:
                small, large = sorted((group[source], group[node]), key=len)
                large += small
                for member in small:
                    group[member] = large
    return list({id(members): members for members in group.values()}.values())


@dataclass
class _Halves:
    """The float16 form of values, each made once."""

    graph: ir.Graph
    taken: set[str | None]
    halves: dict[ir.Value, ir.Value] = field(default_factory=dict)

    def take(self, node: ir.Node) -> None:
        """Let a node read and give float16; what others read of it goes through a Cast."""
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype is ir.DataType.FLOAT:
                node.replace_input_with(index, self._half(value, node))
        for output in node.outputs:
            if output.name:
                self._give(node, output)

    def _half(self, value: ir.Value, node: ir.Node) -> ir.Value:
        if value not in self.halves:
            array = constant(value)
            if array is not None:
                small = array.astype(np.float16)
                made = add_initializer(self.graph, f"{value.name}_half", small, self.taken)
            else:
                cast = _cast(value, ir.DataType.FLOAT16, f"{value.name}_half")
                self.graph.insert_before(node, cast)
                made = cast.outputs[0]
            self.halves[value] = made
        return self.halves[value]

    def _give(self, node: ir.Node, output: ir.Value) -> None:
        """A node takes over the name with `_half`; the old value becomes the output of a Cast."""
        name, shape = output.name, output.shape
        cast = _cast(output, ir.DataType.FLOAT, str(name))
        old = cast.outputs[0]
        ir.convenience.replace_all_uses_with(output, old, replace_graph_outputs=True)
        cast.replace_input_with(0, output)
        output.name, output.type = f"{name}_half", ir.TensorType(ir.DataType.FLOAT16)
        old.name, old.shape = name, shape
        self.graph.insert_after(node, cast)
        self.halves[old] = output


def _cast(source: ir.Value, dtype: ir.DataType, name: str) -> ir.Node:
    node = ir.node("Cast", [source], attributes={"to": dtype}, name=f"{name}_cast")
    output = node.outputs[0]
    output.name, output.type, output.shape = name, ir.TensorType(dtype), source.shape
    return node
