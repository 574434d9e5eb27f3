"""Runs the passes one after another and checks the whole graph between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgewise.errors import InternalError, ModelError
from edgewise.exporters.check import checker_problem
from edgewise.exporters.comparison import compare
from edgewise.exporters.opened import Array
from edgewise.exporters.passes import PASSES, Pass, PassOutcome
from edgewise.exporters.shape_check import update_shapes
from edgewise.findings import Finding
from edgewise.graph import OrtSession, is_quantized_model

#: one pass may make room for another, which runs before it; far more than was ever seen
_ROUNDS = 8
#: of a pass, relative to the largest magnitude of an output: rounding gives about 1e-6
_TOLERANCE = 1e-4


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


def canonicalize(
    model: ir.Model,
    passes: Mapping[str, Pass] = PASSES,
    *,
    feeds: Mapping[str, Array] | None = None,
    tolerance: float = _TOLERANCE,
) -> tuple[Finding, ...]:
    """Rewrite a prepared model in place, and say what was left alone and why.

    The whole graph is verified after each pass that changed it. The reasons are those of the last
    round: what a pass declines may be possible once others have run.

    A model that is quantized already keeps its graph: moving nodes across QuantizeLinear and
    DequantizeLinear would change what was measured with it. Metadata and comments of nodes go in
    every case: exporters leave source paths of the machine they ran on there.

    Args:
        model: as `graph.prepare` gives it.
        passes: by name, in order.
        feeds: an input that ONNX Runtime computes the model with, before the first pass and after
            each one that changed the graph: a search for the pass that is wrong.
        tolerance: with `feeds`, of each output, relative to its largest magnitude.

    Raises:
        InternalError: a pass broke the graph, or with `feeds`, changed what it computes.
    """
    signature, done = Signature.of(model), list[str]()
    computed = None if feeds is None else _Computed(feeds, OrtSession(model).run(feeds), tolerance)
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
                if computed is not None:
                    computed.compare(model, name)
    strip_metadata(model)
    verify(model, signature, done)
    return tuple(findings)


@dataclass(frozen=True, slots=True)
class _Computed:
    """What a model gives for `feeds`; each pass is to leave it as it is."""

    feeds: Mapping[str, Array]
    outputs: Mapping[str, Array]
    tolerance: float

    def compare(self, model: ir.Model, name: str) -> None:
        """Raises InternalError that names the pass and the first output that differs."""
        try:
            found = OrtSession(model).run(self.feeds)
        except ModelError as error:
            raise _wrong(name, "export", f"afterwards, {error}") from error
        for output, reference in self.outputs.items():
            ratio = compare(reference, found[output])[1]
            if ratio > self.tolerance:
                why = f"it differs by {ratio:.3g} of its range, {self.tolerance:g} is allowed"
                raise _wrong(name, f"output '{output}'", why)


def _wrong(name: str, where: str, why: str) -> InternalError:
    return InternalError(
        f"the pass {name} changed what the model computes",
        where=where,
        why=why,
        remedy="Please report this with the model.",
    )


def wrong_pass(
    model: ir.Model,
    feeds: Mapping[str, Array],
    tolerance: float = _TOLERANCE,
    passes: Mapping[str, Pass] = PASSES,
) -> str | None:
    """The first pass that changes what a prepared model computes; None where all of them are right.
    The model stays as it is."""
    ran: list[str] = []

    def noted(name: str, run: Pass) -> Pass:
        def note(model: ir.Model) -> PassOutcome:
            ran.append(name)
            return run(model)

        return note

    try:
        watched = {name: noted(name, run) for name, run in passes.items()}
        copy = ir.from_proto(ir.to_proto(model))
        canonicalize(copy, watched, feeds=feeds, tolerance=tolerance)
    except InternalError:
        return ran[-1]
    return None


def tidy(model: ir.Model) -> None:
    """Clear away what a pass left unused, name what is nameless, and sort."""
    common.RemoveUnusedNodesPass()(model)
    common.NameFixPass()(model)
    common.TopologicalSortPass()(model)


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
    types and shapes are those that inference finds, and the ONNX checker agrees."""
    found = Signature.of(model)
    problem = ""
    if found != signature:
        problem = f"inputs and outputs changed from {signature} to {found}"
    problem = problem or _name_problem(model.graph) or update_shapes(model)
    problem = problem or checker_problem(model, weights=False)
    if problem:
        raise InternalError(
            f"the graph is broken after {done[-1] if done else 'preparing'}",
            where="export",
            why=f"{problem}; passes so far: {', '.join(done) or 'none'}",
            remedy="Please report this with the model.",
        )


def refuse_broken(model: ir.Model, exporter: str) -> None:
    """Raises ModelError for a prepared model that `verify` would refuse before any pass."""
    if problem := update_shapes(model) or checker_problem(model, weights=False):
        raise ModelError(
            "the exported graph can never run",
            where=f"as {exporter} wrote it" if exporter else "",
            why=problem,
            remedy="Write that layer in other terms.",
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
