"""RESHAPE operators that nothing needs, merged away.

A RESHAPE moves nothing in memory, but it is an operator. So
  1. a RESHAPE of a RESHAPE that nothing else reads does both;
  2. a FULLY_CONNECTED reads what a RESHAPE before it reads, where the last axis is the same: its
     kernel takes all other axes as rows;
  3. a FULLY_CONNECTED writes what a RESHAPE behind it writes, where that only gives those axes
     back: the kernel keeps them (option keepNumDims, version 5). A RESHAPE before it that joined
     the axes keeps them apart instead.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from edgewise.targets.android.model import Graph, Operator, Tensor

_KEEPS_AXES_VERSION = 5


def merge_reshapes(graph: Graph) -> None:
    """Merge in place; other operators that nothing reads any more go too."""
    _read_past(graph)
    graph.remove_dead()
    _write_past(graph)


def _read_past(graph: Graph) -> None:
    """Cases 1 and 2."""
    readers = _readers(graph)
    writers: dict[Tensor, Operator] = {}
    for position, operator in enumerate(graph.operators):
        source = writers.get(operator.inputs[0]) if operator.inputs else None
        if source is not None and source.kind == "RESHAPE":
            first = source.inputs[0]
            alone = operator.kind == "RESHAPE" and readers[operator.inputs[0]] == 1
            if alone or (operator.kind == "FULLY_CONNECTED" and _same_rows(operator, first)):
                operator = replace(operator, inputs=(first, *operator.inputs[1:]))
                graph.operators[position] = operator
        writers.update(dict.fromkeys(operator.outputs, operator))


def _same_rows(product: Operator, source: Tensor) -> bool:
    """Whether `source` can take the place of the product's first input."""
    given, result = product.inputs[0], product.outputs[0]
    if not source.shape or source.shape[-1] != given.shape[-1]:
        return False
    return not product.options["keepNumDims"] or source.shape[:-1] == result.shape[:-1]


def _write_past(graph: Graph) -> None:
    """Case 3."""
    readers = _readers(graph)
    writers: dict[Tensor, int] = {}
    merged: set[int] = set()
    for position, operator in enumerate(graph.operators):
        before = writers.get(operator.inputs[0]) if operator.inputs else None
        if before is not None and operator.kind == "RESHAPE" and readers[operator.inputs[0]] == 1:
            product = graph.operators[before]
            source = None if product.kind != "FULLY_CONNECTED" else product.inputs[0]
            result = operator.outputs[0].shape
            if source is not None and result[-1:] == product.outputs[0].shape[-1:]:
                joined = writers.get(source) if readers[source] == 1 else None
                apart = (*result[:-1], source.shape[-1])
                if source.shape != apart and joined is not None:
                    source = _kept_apart(graph, joined, apart)
                if source.shape == apart:
                    graph.operators[before] = replace(
                        product,
                        inputs=(source, *product.inputs[1:]),
                        outputs=operator.outputs,
                        options={**product.options, "keepNumDims": True},
                        version=max(product.version, _KEEPS_AXES_VERSION),
                    )
                    merged.add(position)
        writers.update(dict.fromkeys(operator.outputs, position))
    graph.operators = [o for index, o in enumerate(graph.operators) if index not in merged]


def _kept_apart(graph: Graph, position: int, shape: tuple[int, ...]) -> Tensor:
    """What the operator there writes, in another shape if it is a RESHAPE."""
    operator = graph.operators[position]
    old = operator.outputs[0]
    if operator.kind != "RESHAPE":
        return old
    dims = np.array(shape, np.int32)
    target = Tensor(dims.shape, dims.dtype, data=dims)
    new = replace(old, shape=shape, shape_signature=None)
    graph.operators[position] = replace(
        operator,
        inputs=(operator.inputs[0], target),
        outputs=(new,),
        options={**operator.options, "newShape": dims},
    )
    return new


def _readers(graph: Graph) -> Counter[Tensor]:
    readers = Counter(tensor for operator in graph.operators for tensor in operator.inputs)
    readers.update(graph.outputs)
    return readers
