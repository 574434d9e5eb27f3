"""torch's two exporters to ONNX: dynamo first, TorchScript where that fails.

Dynamo (`torch.export`) refuses what a graph cannot hold. TorchScript runs the module once and
records what happened: a choice that Python made from a tensor is frozen as it fell. So what dynamo
refuses for that reason is not handed on, and whatever TorchScript's tracer warns of is a finding.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.exporters.opened import ExporterName
from edgewise.exporters.pytorch.failures import Failure, both, explain, specialized
from edgewise.exporters.pytorch.inputs import Inputs
from edgewise.exporters.pytorch.running import evaluation_mode, import_torch, tensors_of
from edgewise.exporters.quiet import quiet
from edgewise.findings import Finding

_LARGEST_OPSET_TORCH_WRITES_WELL = 18
#: the tracer's warnings of values that leave the graph; sizes as integers are fixed anyway
_FROZEN = re.compile(r"Converting a tensor to a (Python (?:boolean|number|float)|NumPy array)")


@dataclass(frozen=True, slots=True)
class Traced:
    """The ONNX model as torch wrote it. `graph` is the torch.fx graph it was made from, where
    there is one; see `naming`."""

    model: ir.Model
    exporter: str
    graph: Any = None
    findings: tuple[Finding, ...] = field(default=())


def trace(
    module: Any, inputs: Inputs, outputs: Sequence[str], exporter: ExporterName, where: str
) -> Traced:
    """A module to ONNX by the exporter that is asked for, or the first that can.

    Raises ModelError: torch cannot export it, or a dimension cannot stay free.
    """
    findings: tuple[Finding, ...] = ()
    refused: Failure | None = None
    if exporter != "torchscript" and not isinstance(module, import_torch().jit.ScriptModule):
        try:
            return _with_free_dimensions(_dynamo(module, inputs), inputs, where)
        except ModelError:
            raise
        except Exception as error:  # torch wraps failures in many types
            refused = explain(error)
            if exporter == "dynamo" or refused.final:
                raise refused.error(where) from error
        findings = (_fallback(refused),)
    try:
        traced = torchscript(module, inputs, outputs)
    except Exception as error:  # see above
        failure = explain(error)
        raise (both(refused, failure, where) if refused else failure.error(where)) from error
    traced = Traced(traced.model, traced.exporter, findings=(*findings, *traced.findings))
    return _with_free_dimensions(traced, inputs, where)


def convert_program(program: Any, where: str) -> Traced:
    """A `torch.export.ExportedProgram` to ONNX. Raises ModelError: torch cannot."""
    try:
        return _export(program, {})
    except Exception as error:  # torch wraps failures in many types
        raise explain(error).error(where) from error


def _dynamo(module: Any, inputs: Inputs) -> Traced:
    tensors = tensors_of(inputs.arrays)
    shapes: Any = [dict(inputs.free.get(name, {})) for name in tensors]
    arguments: dict[str, Any] = {"args": tuple(tensors.values())}
    if inputs.by_name:
        arguments = {"args": (), "kwargs": tensors}
        shapes = dict(zip(tensors, shapes, strict=True))
    if inputs.free:
        arguments["dynamic_shapes"] = shapes
    with evaluation_mode(module):
        return _export(module, {**arguments, "input_names": list(tensors)})


def _export(exportable: Any, arguments: Mapping[str, Any]) -> Traced:
    torch = import_torch()
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            exportable,
            **arguments,
            dynamo=True,
            verbose=False,
            opset_version=_LARGEST_OPSET_TORCH_WRITES_WELL,
        )
    model: ir.Model = program.model
    model.metadata_props.clear()
    graph = program.exported_program.graph
    return Traced(model, f"torch.onnx (dynamo) {torch.__version__}", graph)


def torchscript(module: Any, inputs: Inputs, outputs: Sequence[str]) -> Traced:
    """By the TorchScript exporter. Raises whatever torch does."""
    torch = import_torch()
    tensors, file = tensors_of(inputs.arrays), io.BytesIO()
    scripted = isinstance(module, torch.jit.ScriptModule)
    by_name = inputs.by_name and not scripted
    with (
        evaluation_mode(module),
        quiet(),
        warnings.catch_warnings(record=True) as caught,
        torch.no_grad(),
    ):
        warnings.simplefilter("always")
        torch.onnx.export(
            module,
            () if by_name else tuple(tensors.values()),
            file,
            kwargs=tensors if by_name else None,
            dynamo=False,
            opset_version=_LARGEST_OPSET_TORCH_WRITES_WELL,
            input_names=list(tensors),
            output_names=list(outputs),
            dynamic_axes={name: dict(axes) for name, axes in inputs.free.items()},
        )
    model = ir.from_proto(onnx.load_model_from_string(file.getvalue()))
    frozen = tuple(_frozen(warning) for warning in caught if _FROZEN.search(str(warning.message)))
    return Traced(model, f"torch.onnx (TorchScript) {torch.__version__}", findings=frozen)


def _with_free_dimensions(traced: Traced, inputs: Inputs, where: str) -> Traced:
    """Raises ModelError where a dimension that is to stay free has a size, or another's name."""
    values = {value.name: value for value in traced.model.graph.inputs}
    for name, axes in inputs.free.items():
        shape = values[name].shape if name in values else None
        for axis, wanted in axes.items():
            found = None if shape is None else shape[axis]
            if isinstance(found, int):
                raise specialized(name, axis, found).error(where)
            if found is not None and found.value != wanted:
                raise ModelError(
                    f"dimension {axis} of input '{name}' is always that of '{found.value}'",
                    where=where,
                    remedy=f"Give it that name instead of '{wanted}'.",
                )
    return traced


def _fallback(refused: Failure) -> Finding:
    return Finding(
        "export/torchscript",
        "warning",
        "exported by PyTorch's TorchScript exporter, since dynamo failed: "
        f"{refused.what}: {refused.why}",
        remedy="It records one run: check that forward does the same for every input.",
    )


def _frozen(warning: warnings.WarningMessage) -> Finding:
    place = f"{Path(warning.filename).name}, line {warning.lineno}"
    return Finding(
        "export/frozen-value",
        "warning",
        f"the trace holds a value of one run, and not how it is computed ({place})",
        remedy="Use torch.where or torch.cond there, or export torch.jit.script(module).",
    )
