"""The layers of a finished file: its operators, cut at the tensors of the QDQ model.

A file has a tensor for each quantized tensor of the QDQ model. What lies between two of these cuts
is one layer: an operator with its padding, transposes and requantizations, or a float island.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.graph import node_label
from edgewise.targets.android.expectations import parameters_of
from edgewise.targets.android.layout import Value
from edgewise.targets.android.lower import Lowered
from edgewise.targets.android.model import Array, Graph, Operator, Tensor


@dataclass(frozen=True, slots=True)
class Cut:
    """A tensor of the QDQ model that a tensor of the file stands for.

    `shift` is added to the model's integers (uint8 there, int8 here). Axis k in the file is axis
    `perm[k]` of the model; along the last one, element k is element `columns[k]` if that is given.
    """

    name: str
    node: str
    perm: tuple[int, ...]
    shift: int
    columns: Array | None = None

    def of(self, reference: Mapping[str, Array], tensor: Tensor) -> Array:
        """The reference's values as the file's tensor holds them."""
        array = np.transpose(reference[self.name], self.perm)
        if self.columns is not None:
            array = array[..., self.columns]
        if self.shift:
            array = array.astype(np.int16) + self.shift
        return np.ascontiguousarray(array, dtype=tensor.dtype).reshape(tensor.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Operators between cuts, and the tensor that they compute."""

    operators: tuple[Operator, ...]
    output: Tensor
    cuts: tuple[Cut, ...]


def cuts_of(lowered: Lowered, file: Graph) -> dict[Tensor, tuple[Cut, ...]]:
    """The cuts at each tensor of the file.

    Args:
        lowered: the QDQ model, lowered as it was for the file, its tensors with their final names.
        file: the graph of the file.

    Raises:
        ModelError: the file lacks one of the tensors, or holds another one under its name.
    """
    kept = set(lowered.graph.tensors())
    by_name = {tensor.name: tensor for tensor in file.tensors()}
    found: dict[Tensor, tuple[Cut, ...]] = {}
    for source, value in lowered.stands_for.items():
        if value.tensor not in kept:
            continue
        tensor = by_name.get(value.tensor.name)
        if tensor is None or (tensor.shape, tensor.dtype) != (value.tensor.shape, value.dtype):
            raise ModelError(
                "the artifact was not emitted from this model",
                why=f"its tensor '{value.tensor.name}' is missing or has another shape",
            )
        found[tensor] = (*found.get(tensor, ()), _cut(source, value, lowered.column_orders))
    return found


def _cut(source: ir.Value, value: Value, orders: Mapping[ir.Value, Array]) -> Cut:
    parameters = parameters_of(source)
    unsigned = parameters is not None and parameters.zero_point.dtype == np.uint8
    producer = source.producer()
    computed = None if producer is None or producer.inputs[0] is None else producer.inputs[0]
    node = None if computed is None else computed.producer()
    label = (source.name or "") if node is None else node_label(node)
    return Cut(
        name=source.name or "",
        node=label,
        perm=value.perm,
        shift=-128 if unsigned else 0,
        columns=orders.get(source),
    )


def layers_of(graph: Graph, cuts: Mapping[Tensor, tuple[Cut, ...]]) -> list[Layer]:
    """Every computed cut with the operators behind it, in order of execution."""
    writers = {out: operator for operator in graph.operators for out in operator.outputs}
    position = {operator: index for index, operator in enumerate(graph.operators)}
    found = []
    for operator in graph.operators:
        for output in operator.outputs:
            if output not in cuts:
                continue
            cone = _cone(output, writers, cuts)
            cone.sort(key=position.__getitem__)
            found.append(Layer(tuple(cone), output, cuts[output]))
    return found


def _cone(
    output: Tensor, writers: Mapping[Tensor, Operator], cuts: Mapping[Tensor, Any]
) -> list[Operator]:
    cone = {writers[output]: None}
    queue = [writers[output]]
    while queue:
        for tensor in queue.pop().inputs:
            writer = writers.get(tensor)
            if writer is not None and tensor not in cuts and writer not in cone:
                cone[writer] = None
                queue.append(writer)
    return list(cone)
