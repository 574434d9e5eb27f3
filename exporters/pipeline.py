"""Runs the passes one after another and checks the whole graph between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgewise.errors import InternalError
from edgewise.exporters.check import checker_problem
from edgewise.exporters.passes import PASSES, Pass
from edgewise.findings import Finding
from edgewise.graph import is_quantized_model

#: one pass may make room for another, which runs before it; far more than was ever seen
_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Signature:
    """Names and types at the border of a model, in order: no pass may change them."""

    inputs: tuple[tuple[str | None, str], ...]
    outputs: tuple[tuple[str | None, str], ...]

    @classmethod
    def of(cls, model: ir.Model) -> Signature:
        inputs = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
        sides = (inputs, model.graph.outputs)
        return cls(*(tuple((value.name, str(value.dtype)) for value in side) for side in sides))


def canonicalize(model: ir.Model, passes: Mapping[str, Pass] = PASSES) -> tuple[Finding, ...]:
    """Rewrite a prepared model in place, and say what was left alone and why.

    A model that is quantized already keeps its graph: moving nodes across QuantizeLinear and
    DequantizeLinear would change what was measured with it. Metadata and comments of nodes go in
    every case: exporters leave source paths of the machine they ran on there.

    Raises:
        InternalError: a pass broke the graph.
    """
    signature, done = Signature.of(model), list[str]()
    findings: dict[Finding, None] = {}
    modified = not is_quantized_model(model)
    for _ in range(_ROUNDS):
        if not modified:
            break
        modified, findings = False, {}
        for name, run in passes.items():
            outcome = run(model)
            done.append(name)
            for declined in outcome.declined:
                message = f"not applied: {declined.reason}"
                findings[Finding(f"export/{name}", "info", message, declined.node)] = None
            if outcome.modified:
                modified = True
                tidy(model)
                verify(model, signature, done)
    strip_metadata(model)
    verify(model, signature, done)
    return tuple(findings)


def tidy(model: ir.Model) -> None:
    """Clear away what a pass left unused, name, sort, and infer shapes anew."""
    common.RemoveUnusedNodesPass()(model)
    common.NameFixPass()(model)
    common.TopologicalSortPass()(model)
    infer_shapes_anew(model)


def infer_shapes_anew(model: ir.Model) -> None:
    """Infer the shapes of all values that are not static.

    Inference would keep the name that it once gave to a dimension, where now it sees that the
    dimension is that of an input. What it cannot infer keeps the shape that it had.
    """
    known = {
        value: value.shape
        for node in model.graph
        for value in node.outputs
        if value.shape is not None and not value.shape.is_static() and not value.is_graph_output()
    }
    for value in known:
        value.shape = None
    common.ShapeInferencePass(check_type=True, strict_mode=False, data_prop=True)(model)
    for value, shape in known.items():
        if value.shape is None:
            value.shape = shape


def strip_metadata(model: ir.Model) -> None:
    """Remove comments and metadata of graph, nodes and values; the model's own stay."""
    common.ClearMetadataAndDocStringPass()(model)
    for graph in model.graphs():
        graph.doc_string = None
        graph.metadata_props.clear()
        values = [*graph.inputs, *graph.initializers.values()]
        for value in (*values, *(out for node in graph for out in node.outputs)):
            value.doc_string = None
            value.metadata_props.clear()


def verify(model: ir.Model, signature: Signature, done: list[str]) -> None:
    """Raise InternalError unless the border is unchanged, names are unique and defined before use,
    and the ONNX checker agrees."""
    found = Signature.of(model)
    problem = ""
    if found != signature:
        problem = f"inputs and outputs changed from {signature} to {found}"
    problem = problem or _name_problem(model.graph) or checker_problem(model)
    if problem:
        raise InternalError(
            f"the graph is broken after {done[-1] if done else 'preparing'}",
            where="export",
            why=f"{problem}; passes so far: {', '.join(done) or 'none'}",
            remedy="Please report this with the model.",
        )


def _name_problem(graph: ir.Graph) -> str:
    defined = {v.name for v in graph.inputs} | set(graph.initializers)
    for node in graph:
        for value in node.inputs:
            if value is not None and value.name not in defined:
                return f"node '{node.name}' reads '{value.name}' before it is made"
        for value in node.outputs:
            if value.name in defined:
                return f"the name '{value.name}' is used twice"
            if value.name:
                defined.add(value.name)
    missing = [v.name for v in graph.outputs if v.name not in defined]
    return f"output '{missing[0]}' is never made" if missing else ""
