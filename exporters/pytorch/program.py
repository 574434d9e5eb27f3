"""Programs of `torch.export`, in memory or saved as `.pt2`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgewise.errors import ModelError, UsageError
from edgewise.exporters.opened import Array, LayerRunner, OpenedModel, Runner, Shapes, SourceOptions
from edgewise.exporters.pytorch.failures import first_line
from edgewise.exporters.pytorch.layers import layer_runner
from edgewise.exporters.pytorch.naming import name_after_calls, output_names, rename_outputs
from edgewise.exporters.pytorch.running import arrays_of, import_torch, tensors_of
from edgewise.exporters.pytorch.tracing import convert_program
from edgewise.exporters.quiet import quiet
from edgewise.graph.prepare import fix_input_shapes

#: torch keeps no names of dimensions in the file: these are what it invents
_INVENTED = re.compile(r"s\d+")
_BATCH = "batch"


def open_program(path: Path, options: SourceOptions) -> OpenedModel:
    """Read a program saved by `torch.export.save`.

    Raises:
        UsageError: torch is missing, or input shapes are given that are not the program's.
        ModelError: the file cannot be read or exported.
    """
    torch = import_torch()
    try:
        with quiet():
            program = torch.export.load(path)
    except Exception as error:  # zip, pickle and schema errors of many types
        raise ModelError(
            "cannot read the exported program",
            where=str(path),
            why=first_line(error),
            remedy="Save it again with torch.export.save and the installed torch.",
        ) from error
    return open_exported(program, options, str(path))


def open_exported(program: Any, options: SourceOptions, where: str) -> OpenedModel:
    """Convert a `torch.export.ExportedProgram`; see `open_program`.

    Dimensions that it leaves free get the names or sizes that `options.input_shapes` gives.
    Without, they stay free; a first one is called `batch`, and others as torch calls them: the file
    does not hold the names of `torch.export.Dim`.
    """
    torch = import_torch()
    if options.weights is not None or options.exporter == "torchscript":
        what = "weights" if options.weights is not None else "its graph"
        raise UsageError(
            f"an exported program has {what} already",
            where=where,
            remedy="Leave the option away, or name the factory of the module that it was made "
            "from.",
        )
    names = [str(name) for name in program.graph_signature.user_inputs]
    traced = convert_program(program, where)
    spec = program.call_spec.out_spec
    rename_outputs(traced.model, output_names(spec.unflatten([torch.empty(0)] * spec.num_leaves)))
    name_after_calls(traced.model, traced.graph)
    _settle_dimensions(traced.model, options.input_shapes, where)

    def run(module: Any, feeds: Mapping[str, Array]) -> Any:
        tensors = tensors_of({name: feeds[name] for name in names})
        with quiet(), torch.no_grad():
            return module(*tensors.values())

    def open_runner() -> Runner:
        module = program.module()
        return lambda feeds: arrays_of(run(module, feeds))

    def open_layers() -> LayerRunner:
        with quiet():
            module = torch.export.unflatten(program)
        return layer_runner(module, lambda feeds: run(module, feeds))

    return OpenedModel(
        "torch-program",
        traced.model,
        open_runner,
        exporter=traced.exporter,
        open_layers=open_layers,
    )


def _settle_dimensions(model: ir.Model, shapes: Shapes, where: str) -> None:
    """Free dimensions get the user's names or sizes, everywhere in the graph."""
    inputs = {str(value.name): value for value in model.graph.inputs}
    settled: dict[str, int | str] = {}
    for value in inputs.values():
        first = value.shape[0] if value.shape else None
        if isinstance(first, ir.SymbolicDim) and _INVENTED.fullmatch(str(first.value)):
            settled[str(first.value)] = _BATCH
    for name, wanted in shapes.items():
        found = list(inputs[name].shape or ()) if name in inputs else None
        if found is None or len(found) != len(wanted):
            raise _other_shape(name, found, where, inputs)
        for have, want in zip(found, wanted, strict=True):
            if isinstance(have, int) and have != want:
                raise _other_shape(name, found, where, inputs)
            if not isinstance(have, int):
                settled[str(have.value)] = want
    if any(isinstance(dim, int) for dim in settled.values()):
        fixed = {
            name: [
                d if isinstance(d, int) else settled.get(str(d.value), str(d.value))
                for d in v.shape
            ]
            for name, v in inputs.items()
            if v.shape is not None
        }
        fix_input_shapes(model, fixed, None)
        return
    for value in (*inputs.values(), *(out for node in model.graph for out in node.outputs)):
        if value.shape is not None:
            value.shape = ir.Shape([_named(dim, settled) for dim in value.shape])


def _named(dim: int | ir.SymbolicDim, names: Mapping[str, int | str]) -> int | str | None:
    """The dimension with new names, also in what is computed of them, such as `2*s77 + 1`."""
    if isinstance(dim, int) or dim.value is None:
        return dim if isinstance(dim, int) else None
    return re.sub(r"[A-Za-z_]\w*", lambda found: str(names.get(found[0], found[0])), dim.value)


def _other_shape(
    name: str, found: list[Any] | None, where: str, inputs: Mapping[str, ir.Value]
) -> UsageError:
    if found is None:
        return UsageError(
            f"there is no input '{name}'", where=where, why=f"the program takes {', '.join(inputs)}"
        )
    shape = ",".join(str(dim) if isinstance(dim, int) else "free" for dim in found)
    return UsageError(
        "an exported program has its shapes already",
        where=where,
        why=f"input '{name}' is {shape}",
        remedy="Leave input_shapes away but for its free dimensions, or export the program with "
        "other shapes.",
    )
