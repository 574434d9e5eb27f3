"""What a TensorFlow source is to the exporter: a function with named inputs and outputs.

Free dimensions: the first one without a size is the batch, and is called so; any other is called
after its input and axis, as in `image_1`, unless the user gives it a name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgewise.errors import ModelError, UsageError
from edgewise.exporters.opened import Array, Shapes

#: sizes, names of free dimensions, or None for those without either
Dims = tuple[int | str | None, ...]


@dataclass(frozen=True, slots=True)
class Port:
    """An input: its name, its shape, and the name of its dtype as numpy has it."""

    name: str
    dims: Dims
    dtype: str

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """As TensorFlow has them: None for all that is free."""
        return tuple(dim if isinstance(dim, int) else None for dim in self.dims)

    @property
    def named_dims(self) -> tuple[int | str, ...]:
        """As ONNX has them: a name for all that is free."""
        return tuple(
            dim if dim is not None else "batch" if axis == 0 else f"{self.name}_{axis}"
            for axis, dim in enumerate(self.dims)
        )

    def example(self) -> Array:
        """Zeros, with 1 for what is free."""
        return np.zeros([size or 1 for size in self.sizes], self.dtype)


@dataclass(frozen=True, slots=True)
class Result:
    """An output: its name, and its shape; None where not even the rank is known."""

    name: str
    dims: Dims | None


@dataclass(frozen=True, slots=True)
class Traceable:
    """`call` takes tensors in the order of `inputs`, and gives any nest of tensors.

    Attributes:
        name_outputs: names, in flattened order, from what `call` gave.
        layers: those whose results can be watched while `call` runs; see `layers.watching`.
        root: the model around them, one of them.
        batched: the first axis of every input and output is the batch, as Keras has it.
    """

    inputs: tuple[Port, ...]
    call: Callable[[Sequence[Any]], Any]
    name_outputs: Callable[[Any], list[str]]
    layers: tuple[Any, ...] = ()
    root: Any = None
    batched: bool = False


def fixed_ports(ports: Sequence[Port], shapes: Shapes, where: str) -> tuple[Port, ...]:
    """The ports with the user's shapes in the place of their own.

    Raises:
        UsageError: a shape is for no input, of another rank, or against a size that is fixed.
        ModelError: an input takes text.
    """
    known = [port.name for port in ports]
    unknown = sorted(set(shapes) - set(known))
    if unknown:
        raise UsageError(
            f"the model has no input '{unknown[0]}'",
            where=where,
            why=f"its inputs are {', '.join(known)}",
        )
    for port in ports:
        if port.dtype in ("string", "str", "object"):
            raise ModelError(
                f"input '{port.name}' takes text",
                where=where,
                why="the targets take numbers only",
                remedy="Export the part behind the text layers, which takes their numbers.",
            )
    return tuple(
        _fixed(port, shapes[port.name], where) if port.name in shapes else port for port in ports
    )


def _fixed(port: Port, given: Sequence[int | str], where: str) -> Port:
    if len(given) != len(port.dims):
        raise UsageError(
            f"input '{port.name}' has rank {len(port.dims)}",
            where=where,
            why=f"the given shape {list(given)} does not",
        )
    for axis, (own, wanted) in enumerate(zip(port.sizes, given, strict=True)):
        if own is not None and own != wanted:
            raise UsageError(
                f"input '{port.name}' has {own} at axis {axis}",
                where=where,
                why=f"the given shape {list(given)} has {wanted}",
                remedy="Only dimensions that the model leaves free can be given a size or a name.",
            )
    return replace(port, dims=tuple(given))


def leaf_names(nest: Any) -> list[str]:
    """`output` for a lone tensor, else keys and positions: `scores`, `boxes_0`, `output_1`.

    Dictionaries are in the order of their keys, as TensorFlow flattens them.
    """
    return [
        "_".join(path) if path and not path[0].isdigit() else "_".join(("output", *path))
        for path in _paths(nest)
    ]


def _paths(nest: Any) -> list[tuple[str, ...]]:
    if isinstance(nest, Mapping):
        items = [(str(key), nest[key]) for key in sorted(nest)]
    elif isinstance(nest, tuple | list):
        fields = getattr(nest, "_fields", None) or range(len(nest))
        items = [(str(key), part) for key, part in zip(fields, nest, strict=True)]
    else:
        return [()]
    return [(key, *path) for key, part in items for path in _paths(part)]


def unique(names: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """The names, each that is taken already with a number behind it."""
    used, result = set(taken), []
    for name in names:
        candidate, count = name, 1
        while candidate in used:
            candidate, count = f"{name}_{count}", count + 1
        used.add(candidate)
        result.append(candidate)
    return result
