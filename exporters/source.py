"""A model from anywhere, opened: its ONNX form, and a way to run the original."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import onnx
import onnx_ir as ir

from edgewise.errors import ModelError, UsageError
from edgewise.exporters.check import checker_problem
from edgewise.exporters.opened import Array, OpenedModel, Runner, Shapes, SourceKind
from edgewise.graph import OrtSession, load
from edgewise.references import describe, is_reference, resolve

if TYPE_CHECKING:
    import torch

_KINDS = "a .onnx file, a torch.export .pt2, or package.module:factory"
_PICKLES = frozenset({".bin", ".ckpt", ".pkl", ".pt", ".pth"})


def open_model(
    source: str | Path | ir.Model | onnx.ModelProto | torch.nn.Module,
    input_shapes: Shapes,
    example: Mapping[str, Array] | None,
    base: Path | None,
) -> OpenedModel:
    """Find out what `source` is and read it; see `edgewise.exporters.export`."""
    if isinstance(source, ir.Model):
        return _onnx("onnx-model", source, "the model")
    if isinstance(source, onnx.ModelProto):
        return _onnx("onnx-model", _from_proto(source), "the model")
    if not isinstance(source, str | Path):
        return _torch_object(source, input_shapes, example, type(source).__name__)
    text = str(source)
    path = (Path.cwd() if base is None else base) / text
    if path.exists():
        return _file(path, input_shapes)
    if is_reference(text):
        return _referenced(text, input_shapes, example, base)
    raise UsageError("no such file", where=text, remedy=f"A model is {_KINDS}.")


def _file(path: Path, input_shapes: Shapes) -> OpenedModel:
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return _onnx("onnx", load(path), str(path))
    if suffix == ".pt2":
        from edgewise.exporters.pytorch import open_program

        return open_program(path, input_shapes)
    if suffix in _PICKLES:
        raise ModelError(
            "pickled PyTorch files are not read",
            where=str(path),
            why="loading one runs whatever code it holds, and it may lack the architecture",
            remedy="Name a function that builds the model (package.module:factory), "
            "or save it with torch.export.save as .pt2.",
        )
    raise ModelError(
        f"cannot read models of type '{suffix or 'folder'}'",
        where=str(path),
        remedy=f"A model is {_KINDS}.",
    )


def _referenced(
    text: str, input_shapes: Shapes, example: Mapping[str, Array] | None, base: Path | None
) -> OpenedModel:
    found = resolve(text, base=base, error=ModelError)
    shapes = input_shapes or getattr(found, "input_shapes", {})
    made = found
    if callable(found) and not hasattr(found, "state_dict"):  # a class of modules is a factory too
        made = _call(found, text)
    elif isinstance(found, type):
        made = _call(cast(Callable[[], object], found), text)
    if isinstance(made, ir.Model):
        return _onnx("onnx-model", made, text)
    if isinstance(made, onnx.ModelProto):
        return _onnx("onnx-model", _from_proto(made), text)
    return _torch_object(made, shapes, example, text)


def _call(factory: Callable[[], object], text: str) -> object:
    from edgewise.exporters.quiet import quiet

    try:
        with quiet():
            return factory()
    except ModelError:
        raise
    except Exception as error:  # user code may raise anything
        raise ModelError("the factory failed", where=text, why=describe(error)) from error


def _torch_object(
    made: object, input_shapes: Shapes, example: Mapping[str, Array] | None, where: str
) -> OpenedModel:
    from edgewise.exporters.pytorch import open_module

    return open_module(made, input_shapes or getattr(made, "input_shapes", {}), example, where)


def _from_proto(proto: onnx.ModelProto) -> ir.Model:
    try:
        return ir.from_proto(proto)
    except Exception as error:  # onnx-ir raises many types on malformed protos
        raise ModelError("the model is malformed", why=describe(error)) from error


def _onnx(kind: SourceKind, model: ir.Model, where: str) -> OpenedModel:
    if problem := checker_problem(model):
        raise ModelError(
            "is not a valid ONNX model", where=where, why=problem, remedy="Export it again."
        )

    def open_runner() -> Runner:
        session = OrtSession(model, optimize="none")
        return lambda feeds: list(session.run(feeds).values())

    return OpenedModel(kind, model, open_runner)


__all__ = ["Array", "OpenedModel", "Runner", "Shapes", "SourceKind", "open_model"]
