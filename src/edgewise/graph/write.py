"""Additions that passes make to a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir


def names_of_values(graph: ir.Graph) -> set[str | None]:
    """The names that a new value of the graph must not have."""
    taken = {value.name for node in graph for value in node.outputs}
    return taken | {value.name for value in graph.inputs} | set(graph.initializers)


def add_initializer(
    graph: ir.Graph, name: str, array: npt.NDArray[Any], taken: set[str | None] | None = None
) -> ir.Value:
    """A new constant of the graph; its name gets a number where it is taken.

    `taken` saves the walk over the graph: `names_of_values`, collected once for many additions and
    kept up to date here.
    """
    taken = names_of_values(graph) if taken is None else taken
    unique, count = name, 1
    while unique in taken:
        unique, count = f"{name}_{count}", count + 1
    taken.add(unique)
    tensor = ir.tensor(np.asarray(array, order="C"), name=unique)
    value = ir.Value(
        name=unique,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(tensor.dtype),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value
