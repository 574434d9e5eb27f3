"""The user's names in the ONNX graph.

What torch names (`node_conv2d_3`, `getitem_7`) is renamed after the modules that it was made of:

- A *value* that is what a module gave has the name of the module as `named_modules` tells it:
  `layer1.0.bn1`; `layer1.0.relu@1` for the second call of the same module (calls count from 0,
  which is not written). Of modules that give the same value (a block and its last layer) the
  innermost names it. Outputs of the model keep the names of outputs, and values inside of a layer
  those of torch. So a value of that name, where the written model has one, is what the runner of
  `layers` tells under that name. (Passes of the hub pipeline may fold a later layer into it.)
- A *node* has the name of the layer that it computes: `layer1.0.conv1`, also where torch folded
  the batch normalization into it (its result is then the value `layer1.0.bn1`); several of one
  layer or block are `layer1.0.attention/MatMul`, `layer1.0.attention/MatMul_1`, `layer1.0/Add`.

Dynamo's graph tells modules per operation (`nn_module_stack`), and values carry the names of its
operations. TorchScript's exporter leaves scopes in the names of nodes ("/layer1/layer1.0/Conv"):
there nodes are renamed, and values are not, since it may fold a layer into the one before.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import onnx_ir as ir

from edgewise.exporters.pytorch.running import import_torch

_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


class Call(NamedTuple):
    """A call of a module; the empty path is the whole model."""

    path: str
    number: int = 0

    @property
    def name(self) -> str:
        return call_name(self.path, self.number)


def call_name(path: str, number: int) -> str:
    """The name of the result of the call of that number, from 0."""
    return f"{path}@{number}" if number else path


def output_names(results: Any) -> list[str]:
    """`output` for a lone tensor, else keys and positions: `scores`, `boxes.0`, `output_1`."""
    torch = import_torch()
    leaves = torch.utils._pytree.tree_flatten_with_path(results)[0]
    names = []
    for path, leaf in leaves:
        if isinstance(leaf, torch.Tensor):
            parts = [str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path]
            text = ".".join(parts)
            names.append(f"output_{text}" if parts and parts[0].isdigit() else text or "output")
    return names


def rename_outputs(model: ir.Model, names: Sequence[str]) -> None:
    """torch names outputs after the last operator. Values inside give way to the new names (an
    operator `embedding` to an output of that name); where an input or a weight has one, all outputs
    stay as they are."""
    outputs = model.graph.outputs
    fixed = {value.name for value in model.graph.inputs} | set(model.graph.initializers)
    if len(names) != len(set(names)) or len(names) != len(outputs) or fixed & set(names):
        return
    taken = _taken(model) | set(names)
    for value in [value for node in model.graph.all_nodes() for value in node.outputs]:
        if value.name in names and value not in outputs:
            value.name = next(n for i in count(1) if (n := f"{value.name}_{i}") not in taken)
            taken.add(value.name)
    for value, name in zip(outputs, names, strict=True):
        value.name = name


def name_after_calls(model: ir.Model, graph: Any) -> None:
    """Rename nodes and values of a model that dynamo wrote from the torch.fx `graph`."""
    calls = _numbered({node.name: _calls(node) for node in graph.nodes})
    _name_nodes(model, {name: stack[-1] for name, stack in calls.items() if stack})
    taken = _taken(model)
    outputs = {value.name for value in model.graph.outputs}
    results = _results(graph, calls)
    for node in model.graph:
        for value in node.outputs:
            call = results.get(value.name or "")
            if call and value.name not in outputs and call.name not in taken:
                value.name = call.name


def name_after_scopes(model: ir.Model, modules: Iterable[str]) -> None:
    """Rename nodes of a model that the TorchScript exporter wrote."""
    known = set(modules)
    places = {node.name: _call_of_scope(node.name or "", known) for node in model.graph}
    _rename(model, {name: call for name, call in places.items() if name and call})


def _calls(node: Any) -> list[tuple[str, str]]:
    """(path, key of the call) of the modules around an operation, outermost first."""
    stack = node.meta.get("nn_module_stack") or {}
    places = [(str(key), re.sub(r"@\d+", "", str(path))) for key, (path, _) in stack.items()]
    return [(path, key) for key, path in places if not path.startswith("_empty_nn_module")]


def _numbered(calls: Mapping[str, list[tuple[str, str]]]) -> dict[str, list[Call]]:
    """The same with calls of each module counted in the order of the graph."""
    seen: dict[str, list[tuple[str, ...]]] = {}
    found: dict[str, list[Call]] = {}
    for name, stack in calls.items():
        keys: tuple[str, ...] = ()
        found[name] = []
        for path, key in stack:
            keys = (*keys, key)
            known = seen.setdefault(path, [])
            if keys not in known:
                known.append(keys)
            found[name].append(Call(path, known.index(keys)))
    return found


def _results(graph: Any, calls: Mapping[str, Sequence[Call]]) -> dict[str, Call]:
    """The operation whose result is all that leaves a call -> the innermost such call."""
    leaving: dict[Call, list[str]] = {}
    for node in graph.nodes:
        users = [set(calls.get(user.name, ())) for user in node.users]
        for call in calls.get(node.name, ()):
            if call.path and any(call not in user for user in users):
                leaving.setdefault(call, []).append(node.name)
    found: dict[str, Call] = {}
    for call, names in leaving.items():
        if len(names) == 1:
            known = found.get(names[0])
            if known is None or len(call.path) > len(known.path):
                found[names[0]] = call
    return found


def _name_nodes(model: ir.Model, innermost: Mapping[str, Call]) -> None:
    """torch names values after operations, and tells the operation in a node's metadata."""
    modules = {call.path for call in innermost.values()}
    places: dict[str, Call] = {}
    for node in model.graph:
        call = _weight_owner(node, modules) or innermost.get(_operation(node))
        if node.name and call:
            places[node.name] = call
    _rename(model, places)


def _weight_owner(node: ir.Node, modules: set[str]) -> Call | None:
    """The layer whose weight a node multiplies with: it stays the layer's where others were folded
    into it."""
    if node.op_type not in _WEIGHTED or len(node.inputs) < 2 or node.inputs[1] is None:
        return None
    owner, _, parameter = (node.inputs[1].name or "").rpartition(".")
    alone = len(node.inputs[1].uses()) == 1
    return Call(owner) if parameter == "weight" and owner in modules and alone else None


def _operation(node: ir.Node) -> str:
    scopes = re.findall(r"'([^']*)'", node.metadata_props.get("pkg.torch.onnx.name_scopes", ""))
    return scopes[-1] if scopes else ""


def _rename(model: ir.Model, places: Mapping[str, Call]) -> None:
    """A layer of one node gives it its name; others are told apart by operator and number."""
    members = Counter(places.values())
    parents = {path.rpartition(".")[0] for path, _ in places.values()}
    taken = {node.name for node in model.graph.all_nodes() if node.name not in places}
    for node in model.graph:
        call = places.get(node.name or "")
        if call is None:
            continue
        alone = members[call] == 1 and call.path and call.path not in parents
        stem = call.name if alone else f"{call.name}/{node.op_type}".lstrip("/")
        node.name = _unique(stem, taken)


def _unique(stem: str, taken: set[str | None]) -> str:
    name, count = stem, 1
    while name in taken:
        name, count = f"{stem}_{count}", count + 1
    taken.add(name)
    return name


def _call_of_scope(name: str, modules: set[str]) -> Call | None:
    """`/layer1/layer1.0/relu_1/Relu` -> the second call of layer1.0.relu."""
    call = Call("")
    for scope in name.split("/")[1:-1]:
        inside = _child(call.path, scope, modules)
        if inside is None:
            return None
        call = inside
    return call


def _child(path: str, scope: str, modules: set[str]) -> Call | None:
    """The module that a scope inside of another names. A child of a container is written with its
    parent's name before its own, and `_1` after it tells the second call."""
    stem, _, count = scope.rpartition("_")
    readings = [(scope, 0)] + ([(stem, int(count))] if count.isdigit() else [])
    last = path.rpartition(".")[2]
    for text, number in readings:
        for own in (text, text.removeprefix(f"{last}.") if last else text):
            name = f"{path}.{own}" if path else own
            if name in modules:
                return Call(name, number)
    return None


def _taken(model: ir.Model) -> set[str | None]:
    graph = model.graph
    taken = {value.name for value in graph.inputs} | set(graph.initializers)
    return taken | {value.name for node in graph.all_nodes() for value in node.outputs}
