"""ONNX models: files, `onnx.ModelProto` and `onnx_ir.Model` objects."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.exporters.check import checker_problem
from edgewise.exporters.layer_values import open_onnx_layers
from edgewise.exporters.opened import OpenedModel, Runner, SourceKind, SourceOptions
from edgewise.exporters.unrunnable import refuse_contradictions
from edgewise.graph import OrtSession, load
from edgewise.graph.io import refuse_maps
from edgewise.references import describe


def open_onnx(path: Path, options: SourceOptions) -> OpenedModel:
    """Read a `.onnx` file, of opset 7 or newer, with external data from its own folder.

    Raises ModelError: it cannot be read, or is not valid.
    """
    return _opened("onnx", load(path), str(path))


def open_model(model: object, options: SourceOptions, where: str) -> OpenedModel:
    """Take a model in memory. Raises ModelError: it is malformed, or not valid."""
    if isinstance(model, onnx.ModelProto):
        refuse_maps(model, where)
        try:
            model = ir.from_proto(model)
        except Exception as error:  # onnx-ir raises many types on malformed protos
            raise ModelError("the model is malformed", why=describe(error)) from error
    if not isinstance(model, ir.Model):
        raise ModelError("is no ONNX model", where=where, why=f"found {type(model).__name__}")
    return _opened("onnx-model", model, where)


def _opened(kind: SourceKind, model: ir.Model, where: str) -> OpenedModel:
    if not model.graph.outputs:
        raise ModelError(
            "the model has no outputs",
            where=where,
            why="nothing that it computes could be read",
            remedy="Name its results as outputs of the graph.",
        )
    if problem := checker_problem(model):
        raise ModelError(
            "is not a valid ONNX model", where=where, why=problem, remedy="Export it again."
        )
    refuse_contradictions(model, where)

    def open_runner() -> Runner:
        session = OrtSession(model, optimize="none")
        return lambda feeds: list(session.run(feeds).values())

    return OpenedModel(kind, model, open_runner, open_layers=lambda: open_onnx_layers(model))
