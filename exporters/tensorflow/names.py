"""Names of the source in the place of those that tracing, freezing and tf2onnx make up.

1. `model_1/conv_1/convolution` -> `conv/convolution`: the scope of a layer is the layer's path
2. `model_1/conv_1/BiasAdd:0` -> `conv` for a value that is a layer's result
3. `StatefulPartitionedCall/StatefulPartitionedCall/x` -> `x`: inlined functions leave no trace
4. `add:0` -> `add`: the number of a node's first output says nothing
5. inputs and outputs: those of the source, whatever they are called in between
6. `conv/BiasAdd__12`, made by tf2onnx -> `conv/BiasAdd/transpose`, after the operator; where it
   stands between a value with a name and the operator that computes it, it hands the name on
7. `unk__12` -> the names of the source's free dimensions at the border, none in between, where
   inference finds them again
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from edgewise.exporters.tensorflow.traceable import Port, Result

_GENERATED = re.compile(r"(.*?)(?:__\d+)+$")
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
        if not path:
            return
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
                return "/".join([*filter(None, [self.layers[scope]]), *parts[length:]])
        return name


def rename(
    model: ir.Model,
    ports: Sequence[Port],
    inputs: Sequence[str],
    outputs: Sequence[Result],
    scopes: Scopes,
) -> None:
    """All cases, in place; `inputs` are the names that the ports have in the graph."""
    graph = model.graph
    _order_inputs(graph, ports, inputs)
    taken = {port.name for port in ports} | {result.name for result in outputs}
    names = {value: scopes.cleaned(value.name or "value") for value in _values(graph)}
    made_up = {value for value in names if (value.name or "") not in scopes.results}
    made_up = {value for value in made_up if _GENERATED.match(names[value])}
    _hand_on(graph, names, made_up)
    for index, value in enumerate(names):  # old names are out of the way of new ones
        value.name = f"value:{index}"
    for port, value in zip(ports, graph.inputs, strict=True):
        value.name, value.shape = port.name, ir.Shape(port.named_dims)
        names.pop(value, None)
    for value, name in names.items():
        _forget_free_sizes(value)
        value.name = _free(_named_after_operator(name, value.producer()), taken)
    for index, result in enumerate(outputs):
        _name_output(graph, index, result)
    nodes: set[str] = set()
    for node in graph.all_nodes():
        name = _named_after_operator(scopes.cleaned(node.name or node.op_type), node)
        node.name = _free(name, nodes)
    graph.name = "model"


def rename_border(model: ir.Model, ports: Sequence[Port], outputs: Sequence[Result]) -> None:
    """Cases 5 and 7, in place; what has such a name already gets a number behind it."""
    graph = model.graph
    taken = {port.name for port in ports} | {result.name for result in outputs}
    for value in _values(graph):
        _forget_free_sizes(value)
        if value.name is not None and value.name in taken:
            value.name = _free(value.name, taken)
    for port, value in zip(ports, graph.inputs, strict=True):
        value.name, value.shape = port.name, ir.Shape(port.named_dims)
    for index, result in enumerate(outputs):
        _name_output(graph, index, result)


def _hand_on(graph: ir.Graph, names: dict[ir.Value, str], made_up: set[ir.Value]) -> None:
    """Case 6: a convolution's result, and not its Transpose's, is the layer's."""
    for node in graph.all_nodes():
        if node.op_type != "Transpose" or node.inputs[0] is None:
            continue
        source, result = node.inputs[0], node.outputs[0]
        if source in made_up and result not in made_up and result in names:
            names[source], names[result] = names[result], f"{names[result]}/transposed"
            made_up.discard(source)


def _named_after_operator(name: str, node: ir.Node | None) -> str:
    """Case 6; what has no scope gets that of what it reads."""
    found = _GENERATED.match(name)
    if found is None or node is None:
        return name
    stem = found.group(1)
    if "/" not in stem and node.inputs and node.inputs[0] is not None and node.inputs[0].name:
        stem = node.inputs[0].name
    return f"{stem}/{node.op_type.lower()}"


def _order_inputs(graph: ir.Graph, ports: Sequence[Port], inputs: Sequence[str]) -> None:
    """In the order of the source, with those that nothing reads, which tf2onnx leaves out."""
    found = {value.name: value for value in graph.inputs}
    graph.inputs.clear()
    for port, name in zip(ports, inputs, strict=True):
        value = found.get(name) or ir.Value(
            name=name, type=ir.TensorType(ir.DataType.from_numpy(port.example().dtype))
        )
        graph.inputs.append(value)


def _name_output(graph: ir.Graph, index: int, result: Result) -> None:
    """An output that is an input, a constant or another output too is a copy of it."""
    value = graph.outputs[index]
    if value.producer() is None or any(other is value for other in list(graph.outputs)[:index]):
        copy = ir.Node("", "Identity", [value], num_outputs=1, name=f"{result.name}/copy")
        copy.outputs[0].type = value.type
        graph.append(copy)
        graph.outputs[index] = value = copy.outputs[0]
    value.name = result.name
    value.shape = None if result.dims is None else ir.Shape(result.dims)


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
