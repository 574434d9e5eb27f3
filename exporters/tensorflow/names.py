"""Names of the source in the place of those that tracing, freezing and tf2onnx make up.

1. `model_1/conv_1/convolution` -> `conv/convolution`: the scope of a layer is the layer's path
2. `model_1/conv_1/BiasAdd:0` -> `conv` for a value that is a layer's result
3. `StatefulPartitionedCall/StatefulPartitionedCall/x` -> `x`: inlined functions leave no trace
4. `add:0` -> `add`: the number of a node's first output says nothing
5. inputs and outputs: those of the source, whatever they are called in between
6. `unk__12` -> the names of the source's free dimensions at the border, none in between, where
   inference finds them again
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from edgewise.exporters.tensorflow.traceable import Port

_CALLS = ("StatefulPartitionedCall/", "PartitionedCall/")


@dataclass(slots=True)
class Scopes:
    """Which scope and which tensor of a graph belong to which layer."""

    layers: dict[str, str] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)

    def enter(self, scope: str, path: str) -> None:
        """Everything that is made in this scope is the layer's."""
        self.layers.setdefault(scope, path)

    def leave(self, path: str, tensors: Sequence[Any]) -> None:
        """The results of a layer; those that a layer inside of it gave already stay its."""
        named = [tensor for tensor in tensors if hasattr(tensor, "op")]
        for index, tensor in enumerate(named):
            text = path if len(named) == 1 else f"{path}_{index}"
            self.results.setdefault(str(tensor.name), text)

    def cleaned(self, name: str) -> str:
        """Cases 1 to 4."""
        if name in self.results:
            return self.results[name]
        for call in _CALLS:
            while name.startswith(call):
                name = name[len(call) :]
        name = name.removesuffix(":0")
        parts = name.split("/")
        for length in range(len(parts) - 1, 0, -1):
            scope = "/".join(parts[:length])
            if scope in self.layers:
                return "/".join([self.layers[scope], *parts[length:]])
        return name


def rename(
    model: ir.Model,
    ports: Sequence[Port],
    inputs: Sequence[str],
    outputs: Sequence[str],
    scopes: Scopes,
) -> None:
    """Cases 1 to 6, in place; `inputs` are the names that the ports have in the graph."""
    graph = model.graph
    _order_inputs(graph, ports, inputs)
    taken = {port.name for port in ports} | set(outputs)
    values = [(value, scopes.cleaned(value.name or "value")) for value in _values(graph)]
    for index, (value, _) in enumerate(values):  # old names are out of the way of new ones
        value.name = f"value:{index}"
    for value, name in values:
        _forget_free_sizes(value)
        value.name = _free(name, taken)
    for port, value in zip(ports, graph.inputs, strict=True):
        value.name, value.shape = port.name, ir.Shape(port.named_dims)
    for index, name in enumerate(outputs):
        _name_output(graph, index, name)
    nodes: set[str] = set()
    for node in graph.all_nodes():
        node.name = _free(scopes.cleaned(node.name or node.op_type), nodes)
    graph.name = "model"


def _order_inputs(graph: ir.Graph, ports: Sequence[Port], inputs: Sequence[str]) -> None:
    """In the order of the source, with those that nothing reads, which tf2onnx leaves out."""
    found = {value.name: value for value in graph.inputs}
    graph.inputs.clear()
    for port, name in zip(ports, inputs, strict=True):
        value = found.get(name) or ir.Value(
            name=name, type=ir.TensorType(ir.DataType.from_numpy(port.example().dtype))
        )
        graph.inputs.append(value)


def _name_output(graph: ir.Graph, index: int, name: str) -> None:
    """An output that is an input, a constant or another output too is a copy of it."""
    value = graph.outputs[index]
    made = value.producer() is not None
    if made and not any(other is value for other in list(graph.outputs)[:index]):
        value.name = name
        return
    copy = ir.Node("", "Identity", [value], num_outputs=1, name=f"{name}/copy")
    copy.outputs[0].name, copy.outputs[0].type = name, value.type
    copy.outputs[0].shape = value.shape
    graph.append(copy)
    graph.outputs[index] = copy.outputs[0]


def _values(graph: ir.Graph) -> Iterable[ir.Value]:
    seen: set[int] = set()
    for part in (graph, *graph.subgraphs()):
        outputs = (out for node in part for out in node.outputs)
        for value in (*part.inputs, *part.initializers.values(), *outputs):
            if id(value) not in seen and value.name:
                seen.add(id(value))
                yield value


def _forget_free_sizes(value: ir.Value) -> None:
    if value.shape is not None and not value.shape.is_static():
        value.shape = ir.Shape([dim if isinstance(dim, int) else None for dim in value.shape])


def _free(name: str, taken: set[str]) -> str:
    candidate, count = name, 1
    while candidate in taken:
        candidate, count = f"{name}_{count}", count + 1
    taken.add(candidate)
    return candidate
