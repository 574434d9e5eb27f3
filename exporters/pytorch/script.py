"""TorchScript: modules that were traced or scripted, in memory or saved as `.pt`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgewise.errors import ModelError, UsageError
from edgewise.exporters.opened import Array, OpenedModel, SourceOptions
from edgewise.exporters.pytorch.failures import first_line
from edgewise.exporters.pytorch.inputs import settle_inputs
from edgewise.exporters.pytorch.naming import name_after_scopes, output_names, rename_outputs
from edgewise.exporters.pytorch.running import arrays_of, call, import_torch
from edgewise.exporters.pytorch.tracing import trace
from edgewise.exporters.quiet import quiet


def open_script(path: Path, options: SourceOptions) -> OpenedModel:
    """Read a file that `torch.jit.save` wrote.

    Raises:
        UsageError: torch is missing, the shapes are not known, or dynamo is asked for.
        ModelError: the file cannot be read, or torch cannot export the module.
    """
    torch = import_torch()
    try:
        with quiet():
            module = torch.jit.load(str(path), map_location="cpu")
    except Exception as error:  # zip, pickle and schema errors of many types
        raise ModelError(
            "cannot read the TorchScript file",
            where=str(path),
            why=first_line(error),
            remedy="Save it again with torch.jit.save.",
        ) from error
    return open_script_module(module, options, str(path))


def open_script_module(module: Any, options: SourceOptions, where: str) -> OpenedModel:
    """Convert a `torch.jit.ScriptModule`; see `open_script`."""
    if options.weights is not None:
        raise UsageError(
            "a TorchScript module has its weights already",
            where=where,
            remedy="Leave weights away, or name the factory of the module that it was made from.",
        )
    if options.exporter == "dynamo":
        raise UsageError(
            "dynamo does not export TorchScript",
            where=where,
            remedy="Leave --exporter away, or name the factory of the module that it was made "
            "from.",
        )
    inputs = settle_inputs(module, options, where)
    names = output_names(inputs.results)
    traced = trace(module, inputs, names, "torchscript", where)
    rename_outputs(traced.model, names)
    name_after_scopes(traced.model, [name for name, _ in module.named_modules()])

    def run(feeds: Mapping[str, Array]) -> list[Array]:
        arrays = {name: feeds[name] for name in inputs.arrays}
        return arrays_of(call(module, arrays, by_name=inputs.by_name))

    return OpenedModel(
        "torch-script",
        traced.model,
        lambda: run,
        exporter=traced.exporter,
        findings=(*inputs.findings, *traced.findings),
    )
