"""An operator written as the function body that the ONNX standard gives it.

Many operators are defined as functions of simpler ones (`onnx.defs`), some of them depending on
which inputs and attributes a node has. So an operator that the standard will define tomorrow works
as soon as the installed onnx knows it.

A body is written for one opset and holds until the standard publishes a newer one for the same
operator. Its nodes are checked against the model's opset all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import onnx.checker
import onnx.defs
import onnx.inliner
import onnx_ir as ir

from edgewise.graph.expand.expansion import CannotExpand, Expansion

_DOMAIN = "body"


def has_body(node: ir.Node, opset: int) -> bool:
    """Whether the standard defines the operator, as of that opset, by a function."""
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def expand_by_body(e: Expansion) -> Sequence[ir.Value | None]:
    """The nodes of the function body, in the model's own opset."""
    graph = ir.from_proto(_inlined(e)).graph
    for inner, outer in zip(list(graph.inputs), _sources(e), strict=True):
        if inner.is_graph_output():
            raise CannotExpand("its function body only hands an input on", "Remove the node.")
        ir.convenience.replace_all_uses_with(inner, outer)
    results = iter(list(graph.outputs))
    graph.outputs.clear()
    for index, node in enumerate(graph.all_nodes()):
        node.name = f"{e.node.name}/{node.op_type}_{index}"
        for output in node.outputs:
            output.name = None  # a new one is found that is free in the whole model
    nodes = list(graph)
    graph.remove(nodes)
    e.nodes.extend(nodes)
    return [next(results) if output.name else None for output in e.node.outputs]


def _sources(e: Expansion) -> list[ir.Value]:
    return list(dict.fromkeys(value for value in e.node.inputs if value is not None))


def _inlined(e: Expansion) -> onnx.ModelProto:
    """A model of this node alone, with the function body in its place. Raises CannotExpand"""
    schema = onnx.defs.get_schema(e.node.op_type, e.opset, "")
    names: dict[ir.Value | None, str] = {v: f"input_{i}" for i, v in enumerate(_sources(e))}
    call = ir.to_proto(e.node)
    del call.input[:], call.output[:]
    call.input.extend(names.get(value, "") for value in e.node.inputs)
    call.output.extend(f"output_{i}" if v.name else "" for i, v in enumerate(e.node.outputs))
    call.attribute.extend(  # a body refers to every attribute, given or not
        attribute.default_value
        for name, attribute in schema.attributes.items()
        if attribute.default_value.name and name not in e.node.attributes
    )
    body = _body(e, schema, call)
    body.domain = call.domain = _DOMAIN
    inputs = [_described(value, names[value]) for value in _sources(e)]
    outputs = [
        _described(value, name)
        for value, name in zip(e.node.outputs, call.output, strict=True)
        if name
    ]
    opsets = [onnx.helper.make_opsetid("", e.opset), onnx.helper.make_opsetid(_DOMAIN, 1)]
    del body.opset_import[:]
    body.opset_import.append(opsets[0])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([call], "call", inputs, outputs),
        functions=[body],
        opset_imports=opsets,
    )
    inlined = onnx.inliner.inline_local_functions(model)
    _check(inlined, e.opset)
    return inlined


def _body(e: Expansion, schema: Any, call: onnx.NodeProto) -> onnx.FunctionProto:
    """The newest body that the standard has for the model's opset."""
    if schema.has_function:
        version = max(v for v in schema.function_opset_versions if v <= e.opset)
        found = schema.get_function_with_opset_version(version)
    else:
        version = max(v for v in schema.context_dependent_function_opset_versions if v <= e.opset)
        types = [_type(value).SerializeToString() for value in e.node.inputs]
        found = schema.get_context_dependent_function_with_opset_version(
            version, call.SerializeToString(), types
        )
    if not found:
        raise CannotExpand(
            "the standard has no function body for this form of it", "Use another form."
        )
    body = onnx.FunctionProto()
    body.ParseFromString(found)
    return body


def _check(model: onnx.ModelProto, opset: int) -> None:
    context = onnx.checker.C.CheckerContext()
    context.ir_version = model.ir_version
    context.opset_imports = {"": opset}
    try:
        for node in model.graph.node:
            onnx.checker.check_node(node, context)
    except onnx.checker.ValidationError as error:
        raise CannotExpand(
            f"its function body does not fit opset {opset}: {str(error).splitlines()[0]}",
            "Install a newer release of onnx.",
        ) from error


def _type(value: ir.Value | None) -> onnx.TypeProto:
    """An empty one for an input that is absent."""
    return onnx.TypeProto() if value is None else _described(value, "value").type


def _described(value: ir.Value, name: str) -> onnx.ValueInfoProto:
    return ir.to_proto(ir.Value(name=name, shape=value.shape, type=value.type))
