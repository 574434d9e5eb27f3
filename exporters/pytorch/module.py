"""`nn.Module` objects to ONNX."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgewise.errors import ModelError
from edgewise.exporters.opened import Array, OpenedModel, SourceOptions
from edgewise.exporters.pytorch.checkpoint import fill, read_weights
from edgewise.exporters.pytorch.inputs import settle_inputs
from edgewise.exporters.pytorch.layers import layer_runner
from edgewise.exporters.pytorch.naming import (
    name_after_calls,
    name_after_scopes,
    output_names,
    rename_outputs,
)
from edgewise.exporters.pytorch.running import Module, arrays_of, call, import_torch
from edgewise.exporters.pytorch.script import open_script_module
from edgewise.exporters.pytorch.tracing import trace


def open_module(module: object, options: SourceOptions, where: str) -> OpenedModel:
    """Trace a module in evaluation mode, with the weights of `options.weights` if there are any.

    The ONNX inputs carry the names of `forward`'s parameters; where shapes and types come from,
    see `inputs`. The module itself is never changed.

    Raises:
        UsageError: torch is missing, the shapes are missing or name unknown inputs, or there is no
            such file of weights.
        ModelError: it is not a module, the weights do not fit it, or torch cannot export it.
    """
    torch = import_torch()
    if isinstance(module, torch.export.ExportedProgram):
        from edgewise.exporters.pytorch.program import open_exported

        return open_exported(module, options, where)
    if not isinstance(module, torch.nn.Module):
        raise ModelError(
            "is neither a torch.nn.Module nor an ONNX model",
            where=where,
            why=f"found {type(module).__name__}",
            remedy="Return a torch.nn.Module, an onnx_ir.Model or an onnx.ModelProto.",
        )
    if isinstance(module, torch.jit.ScriptModule):
        return open_script_module(module, options, where)
    if options.weights is not None:
        module = _with_weights(module, options, where)
    _check_device(module, where)
    inputs = settle_inputs(module, options, where)
    names = output_names(inputs.results)
    traced = trace(module, inputs, names, options.exporter, where)
    rename_outputs(traced.model, names)
    if traced.graph is not None:
        name_after_calls(traced.model, traced.graph)
    else:
        name_after_scopes(traced.model, [name for name, _ in module.named_modules()])

    def run(feeds: Mapping[str, Array]) -> Any:
        arrays = {name: feeds[name] for name in inputs.arrays}
        return call(module, arrays, by_name=inputs.by_name)

    return OpenedModel(
        "torch-module",
        traced.model,
        lambda: lambda feeds: arrays_of(run(feeds)),
        exporter=traced.exporter,
        open_layers=lambda: layer_runner(module, run),
        findings=(*inputs.findings, *traced.findings),
    )


def _with_weights(module: Module, options: SourceOptions, where: str) -> Module:
    path = (Path.cwd() if options.base is None else options.base) / str(options.weights)
    weights = read_weights(path, allow_code=options.allow_code)
    filled = copy.deepcopy(module)
    fill(filled, weights, str(path), where)
    return filled


def _check_device(module: Module, where: str) -> None:
    """Raises ModelError for weights that are not in memory."""
    devices = {str(t.device) for t in (*module.parameters(), *module.buffers())} - {"cpu"}
    if not devices:
        return
    device = sorted(devices)[0]
    if device == "meta":
        raise ModelError(
            "the module has no weights",
            where=where,
            why="some are on the device 'meta', which holds shapes only",
            remedy="Give them: --weights FILE ([model] weights).",
        )
    raise ModelError(
        f"the module is on the device '{device}'",
        where=where,
        why="it is traced and compared on the CPU",
        remedy="Let the factory return module.cpu().",
    )
