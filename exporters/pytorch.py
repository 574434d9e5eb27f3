"""PyTorch to ONNX: `nn.Module` objects and exported programs (`.pt2`)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir

from edgewise.errors import ModelError, UsageError
from edgewise.exporters.quiet import quiet
from edgewise.exporters.source import Array, OpenedModel, Runner, Shapes

if TYPE_CHECKING:
    import torch

    Module: TypeAlias = torch.nn.Module
else:
    Module = object

_LARGEST_OPSET_TORCH_WRITES_WELL = 18


def open_module(
    module: object, input_shapes: Shapes, example: Mapping[str, Array] | None, where: str
) -> OpenedModel:
    """Trace a module in evaluation mode with inputs of fixed shape.

    Shapes come from `input_shapes`, else from the arrays of `example`; types from `example`, else
    float32. The ONNX inputs carry the names of `forward`'s parameters.

    Raises:
        UsageError: torch is missing, or the shapes are missing or name unknown inputs.
        ModelError: it is not a module, or torch cannot export it.
    """
    torch = _import_torch()
    if not isinstance(module, torch.nn.Module):
        raise ModelError(
            "is neither a torch.nn.Module nor an ONNX model",
            where=where,
            why=f"found {type(module).__name__}",
            remedy="Return a torch.nn.Module, an onnx_ir.Model or an onnx.ModelProto.",
        )
    arrays = _example_inputs(module, input_shapes, example, where)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    was_training = module.training
    module.eval()
    try:
        model = _to_onnx(module, tensors, where)
    finally:
        module.train(was_training)

    def open_runner() -> Runner:
        return _eager(module, list(arrays))

    return OpenedModel("torch-module", model, open_runner)


def open_program(path: Path, input_shapes: Shapes) -> OpenedModel:
    """Read a program saved by `torch.export.save`. Its shapes are fixed already.

    Raises:
        UsageError: torch is missing, or `input_shapes` is given.
        ModelError: the file cannot be read or exported.
    """
    torch = _import_torch()
    if input_shapes:
        raise UsageError(
            "an exported program has its shapes already",
            where=str(path),
            remedy="Leave input_shapes away, or export the program with other shapes.",
        )
    try:
        with quiet():
            program = torch.export.load(path)
    except Exception as error:  # zip, pickle and schema errors of many types
        raise ModelError(
            "cannot read the exported program",
            where=str(path),
            why=_first_line(error),
            remedy="Save it again with torch.export.save and the installed torch.",
        ) from error
    names = [str(name) for name in program.graph_signature.user_inputs]
    model = _to_onnx(program, None, str(path))

    def open_runner() -> Runner:
        return _eager(program.module(), names)

    return OpenedModel("torch-program", model, open_runner)


def _import_torch() -> Any:
    try:
        with quiet():
            import torch
    except ModuleNotFoundError as error:
        raise UsageError(
            "PyTorch models need torch", remedy="Run: pip install 'edgewise[torch]'"
        ) from error
    return torch


def _example_inputs(
    module: Module, shapes: Shapes, example: Mapping[str, Array] | None, where: str
) -> dict[str, Array]:
    """Arrays in the order of forward's parameters."""
    given = example or {}
    required, known = _parameters(module)
    wanted = set(shapes) or set(given)
    if not wanted:
        raise UsageError(
            "the shapes of the inputs are not known",
            where=where,
            why=f"forward takes {', '.join(known) or 'any arguments'}",
            remedy="Give [model] input_shapes, or set input_shapes on the factory.",
        )
    unknown = sorted(wanted - set(known)) if known else []
    missing = [name for name in required if name not in wanted]
    if unknown or missing:
        raise UsageError(
            f"there is no input '{unknown[0]}'"
            if unknown
            else f"the shape of input '{missing[0]}' is not given",
            where=where,
            why=f"forward takes {', '.join(known)}",
            remedy="Name the shapes after forward's parameters.",
        )
    order = [name for name in known if name in wanted] or list(shapes or given)
    return {name: _example_array(name, shapes, given) for name in order}


def _example_array(name: str, shapes: Shapes, given: Mapping[str, Array]) -> Array:
    if name in given and (name not in shapes or tuple(shapes[name]) == given[name].shape):
        return np.ascontiguousarray(given[name])
    dtype = given[name].dtype if name in given else np.dtype(np.float32)
    return np.zeros([int(d) for d in shapes[name]], dtype)


def _parameters(module: Module) -> tuple[list[str], list[str]]:
    """Required and all names of forward's tensor parameters; none where it takes `*args`."""
    signature = inspect.signature(module.forward)
    plain = [
        p
        for p in signature.parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values()):
        return [p.name for p in plain if p.default is p.empty], []
    return [p.name for p in plain if p.default is p.empty], [p.name for p in plain]


def _to_onnx(exportable: Any, tensors: Mapping[str, torch.Tensor] | None, where: str) -> ir.Model:
    torch = _import_torch()
    arguments: dict[str, Any] = {}
    if tensors is not None:
        arguments = {"args": tuple(tensors.values()), "input_names": list(tensors)}
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                exportable,
                **arguments,
                dynamo=True,
                verbose=False,
                opset_version=_LARGEST_OPSET_TORCH_WRITES_WELL,
            )
    except Exception as error:  # torch wraps failures in many types
        raise ModelError(
            "torch cannot export the model",
            where=where,
            why=_root_cause(error),
            remedy="Make forward traceable: torch.export.export must accept it.",
        ) from error
    model: ir.Model = program.model
    model.metadata_props.clear()
    return model


def _eager(module: Any, names: Sequence[str]) -> Runner:
    torch = _import_torch()

    def run(feeds: Mapping[str, Array]) -> list[Array]:
        tensors = [torch.from_numpy(np.array(feeds[name])) for name in names]
        training = getattr(module, "training", False)
        if isinstance(module, torch.nn.Module) and training:
            module.eval()
        try:
            with quiet(), torch.no_grad():
                results = module(*tensors)
        finally:
            if training:
                module.train()
        leaves = torch.utils._pytree.tree_leaves(results)
        return [leaf.detach().cpu().numpy() for leaf in leaves if isinstance(leaf, torch.Tensor)]

    return run


def _root_cause(error: BaseException) -> str:
    """torch's own message is a page long; what it wraps says what happened."""
    while error.__cause__ is not None:
        error = error.__cause__
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
