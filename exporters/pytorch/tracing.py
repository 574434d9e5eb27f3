"""torch's two exporters to ONNX: dynamo first, TorchScript where that fails.

Dynamo (`torch.export`) refuses what a graph cannot hold. TorchScript runs the module once and
records what happened: a choice that Python made from a tensor is frozen as it fell. So what dynamo
refuses for that reason is not handed on, and whatever TorchScript's tracer warns of is a finding.
A size that dynamo freezes may be free for TorchScript (an LSTM over a free number of steps), if
forward itself runs with another one.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from edgewise.exporters.opened import ExporterName
from edgewise.exporters.pytorch.caches import private_cache
from edgewise.exporters.pytorch.failures import Failure, both, explain, specialized
from edgewise.exporters.pytorch.inputs import Inputs
from edgewise.exporters.pytorch.running import call, evaluation_mode, import_torch, tensors_of
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
    refused: Failure | None = None
    if exporter != "torchscript" and not isinstance(module, import_torch().jit.ScriptModule):
        outcome = _attempt(_dynamo, module, inputs)
        if isinstance(outcome, Traced):
            return outcome
        refused = outcome
        if exporter == "dynamo" or refused.final:
            raise refused.error(where)
    _check_other_sizes(module, inputs, where)
    outcome = _attempt(partial(_torchscript, outputs), module, inputs)
    if isinstance(outcome, Failure):
        raise both(refused, outcome, where) if refused else outcome.error(where)
    if refused is None:
        return outcome
    return replace(outcome, findings=(_fallback(refused), *outcome.findings))


def _attempt(
    export: Callable[[Any, Inputs], Traced], module: Any, inputs: Inputs
) -> Traced | Failure:
    try:
        traced = export(module, inputs)
    except Exception as error:  # torch wraps failures in many types
        return explain(error)
    return _lost_dimension(traced, inputs) or traced


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
    with private_cache(), quiet(), torch.no_grad():
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


def _torchscript(outputs: Sequence[str], module: Any, inputs: Inputs) -> Traced:
    torch = import_torch()
    tensors, file = tensors_of(inputs.arrays), io.BytesIO()
    scripted = isinstance(module, torch.jit.ScriptModule)
    by_name = inputs.by_name and not scripted
    with (
        evaluation_mode(module),
        _plain_attention(),
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
    own = str(Path(torch.__file__).parent)
    frozen = dict.fromkeys(
        _frozen(warning)
        for warning in caught
        if _FROZEN.search(str(warning.message)) and not warning.filename.startswith(own)
    )
    return Traced(model, f"torch.onnx (TorchScript) {torch.__version__}", findings=tuple(frozen))


@contextmanager
def _plain_attention() -> Iterator[None]:
    """nn.MultiheadAttention by torch's plain operators: its fast kernel has no ONNX form."""
    mha = import_torch().backends.mha
    fast = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(fast)


def _check_other_sizes(module: Any, inputs: Inputs, where: str) -> None:
    """Dynamo proves that a dimension can stay free; TorchScript takes anybody's word for it.

    Raises ModelError where forward fails with another size of one.
    """
    for name in dict.fromkeys(dim for axes in inputs.free.values() for dim in axes.values()):
        other, place = dict(inputs.arrays), ("", 0, 0)
        for key, axes in inputs.free.items():
            for axis in (axis for axis, dim in axes.items() if dim == name):
                array = other[key]
                place = (key, axis, array.shape[axis])
                half = max(array.shape[axis] // 2, 1)  # a longer one may be more than it can take
                other[key] = (
                    np.concatenate([array] * 2) if axis == 0 else array.take(range(half), axis)
                )
        try:
            call(module, other, by_name=inputs.by_name)
        except Exception as error:  # user code may raise anything
            raise specialized(*place).error(where) from error


def _lost_dimension(traced: Traced, inputs: Inputs) -> Failure | None:
    """A dimension that is to stay free, and has a size or the name of another one."""
    values = {value.name: value for value in traced.model.graph.inputs}
    for name, axes in inputs.free.items():
        shape = values[name].shape if name in values else None
        for axis, wanted in axes.items():
            found = None if shape is None else shape[axis]
            if isinstance(found, int):
                return specialized(name, axis, found)
            if found is not None and found.value != wanted:
                return Failure(
                    f"it is always that of '{found.value}'",
                    what=f"dimension {axis} of input '{name}' cannot be '{wanted}'",
                    remedy=f"Give it the name '{found.value}'.",
                    final=True,
                )
    return None


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
