"""What a module is traced with: one array per input, and which of its dimensions stay free.

Shapes come from the first of these that says any:
1. `SourceOptions.input_shapes`, or the module's own attribute `input_shapes`
2. `SourceOptions.example`, one example of the user's data
3. an attribute with examples: `example_input_array` (as Lightning has), `example_inputs`, or
   `dummy_inputs` (as transformers' models have)
4. the module itself, where it hands its only input to a Linear layer first

Types come from the examples, else they are that of the weights. What is not certain is tried, in
this order, and the first that forward accepts is taken: sizes of free dimensions, an axis for the
batch that an example may lack, and types (indices for an embedding, floats for stored integers).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from edgewise.errors import ModelError, UsageError
from edgewise.exporters.opened import Array, Shapes, SourceOptions
from edgewise.exporters.pytorch.forward import Parameters, parameters_of
from edgewise.exporters.pytorch.inference import inferred_shapes
from edgewise.exporters.pytorch.running import Module, call, import_torch
from edgewise.findings import Finding
from edgewise.references import describe

#: attributes that hold examples of what forward takes
_EXAMPLES = ("example_input_array", "example_inputs", "dummy_inputs")
#: a free batch while tracing; torch and its users treat 0 and 1 as special
_BATCH = 2
#: other free dimensions: of pictures, whose sides are halved often, and of anything else
_SIDES, _LENGTHS = (64, 224, 32), (16, 32, 64, 8)
_PICTURE_RANK = 4
#: what a float example or the weights are traced in
_FLOATS = ("float16", "float64")


@dataclass(frozen=True, slots=True)
class Inputs:
    """Arrays that forward accepts, in the order of its parameters, and what it gave for them.

    `free` holds the name of each free dimension by input and axis.
    """

    arrays: Mapping[str, Array]
    free: Mapping[str, Mapping[int, str]]
    by_name: bool
    results: Any
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class _Known:
    """What is said of the inputs before any is tried."""

    shapes: Shapes
    arrays: Mapping[str, Array]
    findings: tuple[Finding, ...] = ()


def settle_inputs(module: Module, options: SourceOptions, where: str) -> Inputs:
    """Arrays to trace the module with.

    Raises:
        UsageError: nothing tells the shapes, or they name unknown inputs.
        ModelError: forward fails with each of them.
    """
    parameters = parameters_of(module)
    if not parameters.takes_any:
        raise ModelError(
            "forward takes no input",
            where=where,
            why="its result is a constant, and no model",
            remedy="Let forward take what the model is to be run on: def forward(self, x).",
        )
    known = _known(module, parameters, options, where)
    names = _ordered(parameters, known, where)
    free = {
        name: {axis: dim for axis, dim in enumerate(known.shapes[name]) if isinstance(dim, str)}
        for name in names
        if name in known.shapes
    }
    free = {name: axes for name, axes in free.items() if axes}
    failure: Exception | None = None
    for arrays in _candidates(module, known, names):
        try:
            results = call(module, arrays, by_name=parameters.by_name)
        except Exception as error:  # user code may raise anything
            failure = failure or error
        else:
            return Inputs(arrays, free, parameters.by_name, results, known.findings)
    assert failure is not None  # there is a candidate at least
    raise ModelError("forward failed", where=where, why=describe(failure)) from failure


def _known(module: Module, parameters: Parameters, options: SourceOptions, where: str) -> _Known:
    shapes = options.input_shapes or getattr(module, "input_shapes", {})
    data = _fitting(options.example or {}, parameters)
    if shapes or data:
        return _Known(shapes, data)
    if examples := _attribute(module, parameters):
        return _Known({}, examples)
    if inferred := inferred_shapes(module, parameters):
        told = ", ".join(f"{name}={_text(shape)}" for name, shape in inferred.items())
        finding = Finding(
            "export/inferred-shape",
            "info",
            f"no shape is given: {told} is what the first layer takes",
            remedy="Give --input-shape for another one.",
        )
        return _Known(inferred, {}, (finding,))
    held = ", ".join(f"'{name}'" for name in options.example or {})
    raise UsageError(
        "the shapes of the inputs are not known",
        where=where,
        why=f"forward takes {parameters}" + (f", and the data hold {held}" if held else ""),
        remedy=f"Give --input-shape {parameters.sole or 'x'}=1,3,224,224 ([model] input_shapes), "
        "or data with arrays of these names (pictures: with --crop), or set input_shapes on the "
        "factory.",
    )


def _fitting(example: Mapping[str, Array], parameters: Parameters) -> Mapping[str, Array]:
    """The arrays that forward takes; data may hold more, and pictures have no name ("")."""
    if set(example) == {""}:
        return {parameters.sole: example[""]} if parameters.sole else {}
    if not parameters.names:
        return example
    fitting = {name: example[name] for name in parameters.names if name in example}
    return fitting if set(parameters.required) <= set(fitting) else {}


def _attribute(module: Module, parameters: Parameters) -> dict[str, Array]:
    """One example from an attribute of the module: a tensor, several in order, or by name."""
    torch = import_torch()
    for attribute in _EXAMPLES:
        found = getattr(module, attribute, None)
        if isinstance(found, torch.Tensor):
            found = (found,)
        if isinstance(found, tuple | list) and len(found) <= len(parameters.names):
            found = dict(zip(parameters.names, found, strict=False))
        if not isinstance(found, Mapping):
            continue
        arrays = {
            str(name): tensor.detach().cpu().numpy()
            for name, tensor in found.items()
            if isinstance(tensor, torch.Tensor) and str(name) in parameters.names
        }
        if arrays and set(parameters.required) <= set(arrays):
            return _first_of_batch(arrays)
    return {}


def _first_of_batch(arrays: dict[str, Array]) -> dict[str, Array]:
    """Examples come one at a time; arrays that share their first axis are a batch of them."""
    sizes = {array.shape[:1] for array in arrays.values()}
    if len(sizes) == 1 and sizes != {()}:
        return {name: array[:1] for name, array in arrays.items()}
    return arrays


def _ordered(parameters: Parameters, known: _Known, where: str) -> list[str]:
    """The inputs in the order of forward's parameters."""
    wanted = set(known.shapes) | set(known.arrays)
    unknown = sorted(wanted - set(parameters.names)) if parameters.names else []
    missing = [name for name in parameters.required if name not in wanted]
    if unknown or missing:
        raise UsageError(
            f"there is no input '{unknown[0]}'"
            if unknown
            else f"the shape of input '{missing[0]}' is not given",
            where=where,
            why=f"forward takes {parameters}",
            remedy="Name the shapes after forward's parameters.",
        )
    return [n for n in parameters.names if n in wanted] or list(known.shapes or known.arrays)


def _candidates(module: Module, known: _Known, names: list[str]) -> Iterator[dict[str, Array]]:
    for sizes, batched, dtypes in product(
        _sizes(known), _batched(module, known), _dtypes(module, known, names)
    ):
        yield {
            name: _array(known.shapes.get(name), batched.get(name), sizes, dtypes[name])
            for name in names
        }


def _array(
    shape: Any, example: Array | None, sizes: Mapping[str, int], dtype: np.dtype[Any]
) -> Array:
    if shape is None and example is not None:
        return np.ascontiguousarray(example.astype(dtype))
    fixed = tuple(sizes[dim] if isinstance(dim, str) else int(dim) for dim in shape)
    if example is not None and example.shape == fixed:
        return np.ascontiguousarray(example.astype(dtype))
    return np.zeros(fixed, dtype)


def _sizes(known: _Known) -> list[dict[str, int]]:
    """Sizes of the free dimensions by name: those of the example, else some that models like."""
    fixed: dict[str, int] = {}
    choices: dict[str, tuple[int, ...]] = {}
    for name, shape in known.shapes.items():
        example = known.arrays.get(name)
        for axis, dim in enumerate(shape):
            if not isinstance(dim, str):
                continue
            have = example.shape[axis] if example is not None and example.ndim > axis else 0
            if axis == 0:
                fixed.setdefault(dim, _BATCH)
            elif have > 1:
                fixed.setdefault(dim, have)
            else:
                choices.setdefault(dim, _SIDES if len(shape) >= _PICTURE_RANK else _LENGTHS)
    count = max((len(c) for c in choices.values()), default=1)
    return [
        {**{dim: c[min(index, len(c) - 1)] for dim, c in choices.items()}, **fixed}
        for index in range(count)
    ]


def _batched(module: Module, known: _Known) -> list[Mapping[str, Array]]:
    """The examples as they are, and with an axis for the batch, which a first axis of 1 may or may
    not be. Pictures of one channel look like a batch of one."""
    as_they_are = known.arrays
    unsaid = {
        n: a for n, a in known.arrays.items() if n not in known.shapes and a.shape[:1] == (1,)
    }
    if not unsaid:
        return [as_they_are]
    added = {**as_they_are, **{name: array[None] for name, array in unsaid.items()}}
    pictures = all(array.ndim == _PICTURE_RANK - 1 for array in unsaid.values())
    has_planes = any(isinstance(child, import_torch().nn.Conv2d) for child in module.modules())
    return [added, as_they_are] if pictures and has_planes else [as_they_are, added]


def _dtypes(module: Module, known: _Known, names: list[str]) -> list[dict[str, np.dtype[Any]]]:
    """Types by input: first what is said, then what else forward may want."""
    default, index = _weights_type(module), np.dtype(np.int64)
    first = {name: known.arrays[name].dtype if name in known.arrays else default for name in names}
    first = {name: default if dtype.kind == "f" else dtype for name, dtype in first.items()}
    stored = {name: default if dtype.kind in "biu" else dtype for name, dtype in first.items()}
    untold = [name for name in names if name not in known.arrays]
    indices = [{**first, **dict.fromkeys(untold, index)}] if untold else []
    single = [{**first, name: index} for name in untold] if len(untold) > 1 else []
    found: list[dict[str, np.dtype[Any]]] = []
    for choice in (first, *indices, *single, stored):
        if choice not in found:
            found.append(choice)
    return found


def _weights_type(module: Module) -> np.dtype[Any]:
    """float16 and float64 for a module of that type, float32 for any other."""
    dtypes = (str(p.dtype) for p in module.parameters() if p.is_floating_point())
    name = next(dtypes, "").removeprefix("torch.")
    return np.dtype(name if name in _FLOATS else "float32")


def _text(shape: Any) -> str:
    return ",".join(map(str, shape))
