"""PyTorch to ONNX: `nn.Module` objects and exported programs (`.pt2`)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import onnx_ir as ir

from edgewise.errors import ModelError, UsageError
from edgewise.exporters.extras import import_extra
from edgewise.exporters.opened import Array, OpenedModel, Runner, Shapes, SourceOptions
from edgewise.exporters.quiet import quiet
from edgewise.references import describe

if TYPE_CHECKING:
    import torch

    Module: TypeAlias = torch.nn.Module
else:
    Module = object

_LARGEST_OPSET_TORCH_WRITES_WELL = 18


def open_module(module: object, options: SourceOptions, where: str) -> OpenedModel:
    """Trace a module in evaluation mode with inputs of fixed shape.

    Shapes come from `options.input_shapes`, else from the module's own attribute `input_shapes`,
    else from the arrays of `options.example`; types from that example, else that of the weights.
    The ONNX inputs carry the names of `forward`'s parameters.

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
    input_shapes = options.input_shapes or getattr(module, "input_shapes", {})
    arrays = _example_inputs(module, input_shapes, options.example, where)
    by_name = bool(_parameters(module).names)

    def run(feeds: Mapping[str, Array]) -> Any:
        tensors = {name: torch.from_numpy(np.array(feeds[name])) for name in arrays}
        with _evaluation_mode(module), quiet(), torch.no_grad():
            return module(**tensors) if by_name else module(*tensors.values())

    try:
        names = _output_names(run(arrays))
    except Exception as error:  # user code may raise anything
        raise ModelError("forward failed", where=where, why=describe(error)) from error
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    arguments = {"kwargs": tensors} if by_name else {"args": tuple(tensors.values())}
    with _evaluation_mode(module):
        model = _to_onnx(module, {**arguments, "input_names": list(tensors)}, where)
    _rename_outputs(model, names)
    return OpenedModel(
        "torch-module",
        model,
        lambda: lambda feeds: _arrays(run(feeds)),
        exporter=f"torch.onnx (dynamo) {torch.__version__}",
    )


def open_program(path: Path, options: SourceOptions) -> OpenedModel:
    """Read a program saved by `torch.export.save`. Its shapes are fixed already.

    Raises:
        UsageError: torch is missing, or input shapes are given.
        ModelError: the file cannot be read or exported.
    """
    torch = _import_torch()
    if options.input_shapes:
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
    model = _to_onnx(program, {}, str(path))
    spec = program.call_spec.out_spec
    _rename_outputs(model, _output_names(spec.unflatten([torch.empty(0)] * spec.num_leaves)))

    def open_runner() -> Runner:
        module = program.module()

        def run(feeds: Mapping[str, Array]) -> list[Array]:
            with quiet(), torch.no_grad():
                return _arrays(module(*(torch.from_numpy(np.array(feeds[n])) for n in names)))

        return run

    exporter = f"torch.onnx (dynamo) {torch.__version__}"
    return OpenedModel("torch-program", model, open_runner, exporter=exporter)


@contextmanager
def _evaluation_mode(module: Module) -> Iterator[None]:
    """Switches the module and its children to evaluation, and each back to what it was."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, training in modes:
            child.training = training


def _import_torch() -> Any:
    return import_extra("torch", needed_for="PyTorch models")


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
    default = _default_type(module)
    return {name: _example_array(name, shapes, given, default) for name in order}


def _default_type(module: Module) -> np.dtype[Any]:
    """float16 and float64 for a module of that type, float32 for any other."""
    dtypes = (str(p.dtype) for p in module.parameters() if p.is_floating_point())
    name = next(dtypes, "").removeprefix("torch.")
    return np.dtype(name if name in ("float16", "float64") else "float32")


def _example_array(
    name: str, shapes: Shapes, given: Mapping[str, Array], default: np.dtype[Any]
) -> Array:
    if name in given and (name not in shapes or tuple(shapes[name]) == given[name].shape):
        return np.ascontiguousarray(given[name])
    dtype = given[name].dtype if name in given else default
    return np.zeros([int(d) for d in shapes[name]], dtype)


class _Parameters(NamedTuple):
    """Of forward: those that must be given, and all of them (none where it takes `*args`)."""

    required: list[str]
    names: list[str]


def _parameters(module: Module) -> _Parameters:
    parameters = inspect.signature(module.forward).parameters.values()
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    required = [p.name for p in plain if p.default is p.empty]
    by_position = any(p.kind in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY) for p in parameters)
    return _Parameters(required, [] if by_position else [p.name for p in plain])


def _to_onnx(exportable: Any, arguments: Mapping[str, Any], where: str) -> ir.Model:
    torch = _import_torch()
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


def _arrays(results: Any) -> list[Array]:
    torch = _import_torch()
    leaves = torch.utils._pytree.tree_leaves(results)
    return [leaf.cpu().numpy() for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _output_names(results: Any) -> list[str]:
    """`output` for a lone tensor, else keys and positions: `scores`, `boxes.0`, `output_1`."""
    torch = _import_torch()
    leaves = torch.utils._pytree.tree_flatten_with_path(results)[0]
    names = []
    for path, leaf in leaves:
        if isinstance(leaf, torch.Tensor):
            parts = [str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path]
            text = ".".join(parts)
            names.append(f"output_{text}" if parts and parts[0].isdigit() else text or "output")
    return names


def _rename_outputs(model: ir.Model, names: Sequence[str]) -> None:
    """torch names outputs after the last operator; where a new name is taken, all of them stay."""
    outputs = model.graph.outputs
    taken = {value.name for value in model.graph.inputs} | set(model.graph.initializers)
    taken |= {value.name for node in model.graph.all_nodes() for value in node.outputs}
    taken -= {value.name for value in outputs}
    if len(names) == len(set(names)) == len(outputs) and not taken & set(names):
        for value, name in zip(outputs, names, strict=True):
            value.name = name


def _root_cause(error: BaseException) -> str:
    """torch's own message is a page long; what it wraps says what happened."""
    while error.__cause__ is not None:
        error = error.__cause__
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
