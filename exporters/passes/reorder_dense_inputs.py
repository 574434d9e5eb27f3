"""A Transpose in front of flattened features is an order of a dense layer's weights.

With P the order in which a Transpose (of all axes but the first) leaves the features of an example,

    flatten(Transpose(x)) W = (flatten(x) P) W = flatten(x) (P W)

so the rows of W change places instead. Before the features are flattened, operators that go along
with any order of axes (`axis_orders`) may stand behind the Transpose, and after it

1. operators of one input that work element by element
2. those of two inputs whose other one is a constant: a number, or one number per feature, whose
   numbers change places too
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from edgewise.exporters.passes.axis_orders import AddConstant, passage
from edgewise.exporters.passes.base import Array, PassOutcome, is_op, sole_consumer
from edgewise.exporters.passes.merge_transposes import permutation
from edgewise.graph import add_initializer, attribute, constant
from edgewise.graph.write import names_of_values

_UNARY = ("Clip", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid")
_BINARY = ("Add", "Div", "Max", "Min", "Mul", "Sub")


def reorder_dense_inputs(model: ir.Model) -> PassOutcome:
    """Let the Reshape read what the Transpose reads, and reorder all constants down to W."""
    modified = False
    taken = names_of_values(model.graph)

    def add(name: str, array: Array) -> ir.Value:
        return add_initializer(model.graph, name, array, taken)

    for node in list(model.graph):
        above = _above(node) if is_op(node, "Reshape") else []
        places = _places(above[-1], node) if above else None
        chain = [] if places is None else list(_chain(node, len(places)))
        if places is None or not chain or not is_op(chain[-1][0], "Gemm", "MatMul"):
            continue
        for reader, index, axis in chain:
            array = None if index is None else constant(reader.inputs[index])
            if index is not None and array is not None:
                name = str(getattr(reader.inputs[index], "name", "weight"))
                reader.replace_input_with(index, add(name, np.take(array, places, axis)))
        _take_away(above, node, add)
        modified = True
    return PassOutcome(model, modified)


def _above(reshape: ir.Node) -> list[ir.Node]:
    """From the Reshape's maker up to a Transpose, over operators that take any order of axes."""
    found: list[ir.Node] = []
    value = reshape.inputs[0]
    while value is not None and sole_consumer(value) is not None:
        maker = value.producer()
        if maker is None:
            break
        found.append(maker)
        if is_op(maker, "Transpose"):
            return found
        through = passage(maker)
        if through is None or len(through.data) != 1 or len(through.kept) != through.rank:
            break
        value = maker.inputs[through.data[0]]
    return []


def _take_away(above: Sequence[ir.Node], reshape: ir.Node, add: AddConstant) -> None:
    """Let everything below the Transpose work in the order of what it reads."""
    *operators, transpose = above
    order = permutation(transpose)
    assert order is not None  # the places of the features are known from it
    turned = tuple(order.index(axis) for axis in range(len(order)))
    first = operators[-1] if operators else reshape
    for operator in operators:
        through = passage(operator)
        assert through is not None  # as in `_above`
        through.renumber(operator, add, turned)
        result = operator.outputs[0]
        if result.shape is not None:
            result.shape = ir.Shape([result.shape[axis] for axis in turned])
    index = next(i for i, value in enumerate(first.inputs) if value is transpose.outputs[0])
    first.replace_input_with(index, transpose.inputs[0])


def _places(transpose: ir.Node, reshape: ir.Node) -> Array | None:
    """Where each feature stands once the Transpose is gone, by its place behind it now."""
    order, data, result = permutation(transpose), transpose.inputs[0], reshape.outputs[0]
    if order is None or order[0] != 0 or data is None or data.shape is None:
        return None
    sizes = [dim for dim in list(data.shape)[1:] if isinstance(dim, int)]
    flat = result.shape is not None and len(result.shape) == 2
    if not flat or len(sizes) + 1 != len(data.shape):
        return None
    features = int(np.prod(sizes))
    target = constant(reshape.inputs[1])
    if target is None or result.shape is None or result.shape[1] != features:
        return None
    behind = np.arange(features).reshape(sizes).transpose([axis - 1 for axis in order[1:]])
    return np.argsort(behind.reshape(-1))


def _chain(reshape: ir.Node, features: int) -> Iterator[tuple[ir.Node, int | None, int]]:
    """Readers down to the dense layer: which of their inputs is reordered, and along which axis.

    Ends without the layer where anything else reads the features.
    """
    value = reshape.outputs[0]
    while (reader := sole_consumer(value)) is not None and reader.graph is reshape.graph:
        if is_op(reader, "Gemm", "MatMul"):
            weight = constant(reader.inputs[1])
            plain = reader.inputs[0] is value and not attribute(reader, "transA", 0)
            if plain and weight is not None and weight.ndim == 2:
                yield reader, 1, 1 if attribute(reader, "transB", 0) else 0
            return
        if is_op(reader, *_UNARY) and reader.inputs[0] is value:
            yield reader, None, 0
        elif is_op(reader, *_BINARY) and len(reader.inputs) == 2:
            other = 1 if reader.inputs[0] is value else 0
            array = constant(reader.inputs[other])
            if array is None or array.ndim > 2 or array.size not in (1, features):
                return
            yield reader, other if array.size == features > 1 else None, array.ndim - 1
        else:
            return
        value = reader.outputs[0]
