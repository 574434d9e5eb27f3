"""JAX to ONNX through jax2onnx: jitted functions, Flax NNX modules, Equinox modules.

Inputs are called as the function's parameters (a module's: those of `__call__`); their shapes come
from `input_shapes`: of the options, else an attribute of the factory, the function or the module,
else from the data. A name in the place of a size keeps that dimension free. They are float32, or of
the type of the data. Modules are traced in evaluation mode, on a copy: no dropout, the averages
that training kept. Outputs are called as PyTorch's are: `output` for a lone array, else keys and
positions, in the order of JAX's trees (keys of a dictionary are sorted).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.errors import ModelError, UsageError
from edgewise.exporters.extras import import_extra
from edgewise.exporters.opened import Array, OpenedModel, Runner, SourceOptions
from edgewise.exporters.quiet import quiet
from edgewise.graph.prepare import HUB_OPSET
from edgewise.references import describe

_NEEDED_FOR = "JAX models"
#: stands in for a free dimension while the outputs are named
_SOME_SIZE = 2


@dataclass(frozen=True, slots=True)
class _Input:
    """A parameter of the function, in its place."""

    name: str
    shape: tuple[int | str, ...]
    dtype: np.dtype[Any]

    @property
    def some_shape(self) -> tuple[int, ...]:
        return tuple(_SOME_SIZE if isinstance(size, str) else size for size in self.shape)


def open_function(function: object, options: SourceOptions, where: str) -> OpenedModel:
    """Trace a function or a module, which is not changed.

    Raises:
        UsageError: jax2onnx is missing, or shapes are missing or name unknown inputs.
        ModelError: it cannot be called, fails on such inputs, or jax2onnx cannot convert it.
    """
    jax = import_extra("jax", needed_for=_NEEDED_FOR)
    jax2onnx = import_extra("jax2onnx", needed_for=_NEEDED_FOR)
    if not callable(function):
        raise ModelError(
            "is no function of JAX", where=where, why=f"found {type(function).__name__}"
        )
    settled = _in_evaluation(function)
    inputs = _inputs(function, options, where)
    names = _output_names(jax, settled, inputs, where)
    model = _converted(jax, jax2onnx, settled, inputs, names, where)

    def run(feeds: Mapping[str, Array]) -> list[Array]:
        with quiet():
            found = settled(*(jax.numpy.asarray(feeds[one.name]) for one in inputs))
            return [np.asarray(leaf) for leaf in jax.tree_util.tree_leaves(found)]

    def open_runner() -> Runner:
        return run

    return OpenedModel("jax", model, open_runner, exporter=f"jax2onnx {version('jax2onnx')}")


def _inputs(function: Callable[..., Any], options: SourceOptions, where: str) -> tuple[_Input, ...]:
    """Those that have a shape, in the order of the parameters."""
    example = options.example or {}
    shapes = options.input_shapes or getattr(function, "input_shapes", {})
    shapes = shapes or {name: array.shape for name, array in example.items()}
    parameters = [
        one
        for one in inspect.signature(function).parameters.values()
        if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    known = [one.name for one in parameters]
    if not shapes:
        raise UsageError(
            "the shapes of the inputs are not known",
            where=where,
            why=f"the function takes {', '.join(known) or 'any arguments'}",
            remedy=f"Give --input-shape {known[0] if known else 'x'}=1,3,224,224 ([model] "
            "input_shapes), or set input_shapes on the factory.",
        )
    unknown = [name for name in shapes if name not in known]
    missing = [
        one.name for one in parameters if one.default is one.empty and one.name not in shapes
    ]
    if unknown or missing:
        raise UsageError(
            f"there is no input '{unknown[0]}'"
            if unknown
            else f"the shape of input '{missing[0]}' is not given",
            where=where,
            why=f"the function takes {', '.join(known)}",
            remedy="Name the shapes after the function's parameters.",
        )
    order = [name for name in known if name in shapes]
    if order != known[: len(order)]:
        raise UsageError(
            f"the shape of input '{known[len(order) - 1]}' is not given",
            where=where,
            why="inputs are given by place, and one after it has a shape",
        )
    return tuple(
        _Input(
            name,
            tuple(shapes[name]),
            example[name].dtype if name in example else np.dtype(np.float32),
        )
        for name in order
    )


def _in_evaluation(function: Callable[..., Any]) -> Callable[..., Any]:
    """A copy of a module in evaluation mode; a plain function as it is."""
    bases = [base.__module__.partition(".")[0] for base in type(function).__mro__]
    if "flax" in bases:
        nnx = import_extra("flax.nnx", needed_for=_NEEDED_FOR)
        if not isinstance(function, nnx.Module):
            raise ModelError(
                "Flax Linen modules hold no parameters",
                where=type(function).__name__,
                remedy="Return a jitted function of the inputs that applies the module to its "
                "parameters, or a flax.nnx.Module.",
            )
        copy: Any = nnx.clone(function)
        copy.eval()
        return copy  # type: ignore[no-any-return]
    if "equinox" in bases:
        equinox = import_extra("equinox", needed_for=_NEEDED_FOR)
        return equinox.nn.inference_mode(function)  # type: ignore[no-any-return]
    return function


def _output_names(
    jax: Any, function: Callable[..., Any], inputs: tuple[_Input, ...], where: str
) -> list[str]:
    specs = [jax.ShapeDtypeStruct(one.some_shape, one.dtype) for one in inputs]
    try:
        with quiet():
            found = jax.eval_shape(lambda *arrays: function(*arrays), *specs)
    except Exception as error:  # user code may raise anything
        raise ModelError("the function failed", where=where, why=describe(error)) from error
    names = []
    for path, _ in jax.tree_util.tree_flatten_with_path(found)[0]:
        parts = [str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path]
        text = ".".join(parts)
        names.append(f"output_{text}" if parts and parts[0].isdigit() else text or "output")
    return names


def _converted(
    jax: Any,
    jax2onnx: Any,
    function: Callable[..., Any],
    inputs: tuple[_Input, ...],
    names: list[str],
    where: str,
) -> ir.Model:
    free = any(isinstance(size, str) for one in inputs for size in one.shape)
    specs: list[Any] = [
        list(one.shape) if free else jax.ShapeDtypeStruct(one.shape, one.dtype) for one in inputs
    ]
    try:
        with quiet():
            model: ir.Model = jax2onnx.to_onnx(
                function,
                specs,
                opset=HUB_OPSET,
                return_mode="ir",
                input_names=[one.name for one in inputs],
                output_names=names,
            )
    except Exception as error:  # its plug-ins raise what JAX and they themselves do
        raise ModelError(
            "jax2onnx cannot convert the function",
            where=where,
            why=describe(error),
            remedy="Write it with operations that jax2onnx knows.",
        ) from error
    return model
