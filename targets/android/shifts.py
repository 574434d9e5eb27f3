"""QUANTIZE operators that only move the zero point between int8 and uint8, merged away.

A shift keeps the scale and moves the zero point by 128 together with every number: nothing is
rounded. So
  1. a shift, then a requantization, is that requantization alone (a uint8 input);
  2. a requantization, then a shift, is that requantization to the shifted type, where nothing else
     reads what lies between (a uint8 output).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from edgewise.targets.android.model import Graph, Operator, Tensor

_OFFSETS = {np.dtype(np.int8): 0, np.dtype(np.uint8): 128}


def merge_shifts(graph: Graph) -> None:
    """Merge in place; what is left without a reader is for `Graph.remove_dead`."""
    writers: dict[Tensor, int] = {}
    readers = Counter(tensor for operator in graph.operators for tensor in operator.inputs)
    readers.update(graph.outputs)
    for position, operator in enumerate(graph.operators):
        before = writers.get(operator.inputs[0]) if operator.kind == "QUANTIZE" else None
        if before is not None:
            source = graph.operators[before]
            if _is_shift(source):
                operator = replace(operator, inputs=source.inputs)
            elif _is_shift(operator) and readers[operator.inputs[0]] == 1:
                operator = replace(operator, inputs=source.inputs, version=source.version)
            graph.operators[position] = operator
        if operator.kind == "QUANTIZE":
            writers[operator.outputs[0]] = position


def _is_shift(operator: Operator) -> bool:
    source, result = operator.inputs[0], operator.outputs[0]
    if source.quantization is None or result.quantization is None:
        return False
    if {source.dtype, result.dtype} != set(_OFFSETS):
        return False
    moved = source.quantization.zero_point - _OFFSETS[source.dtype] + _OFFSETS[result.dtype]
    same_scale = np.array_equal(source.quantization.scale, result.quantization.scale)
    return same_scale and np.array_equal(moved, result.quantization.zero_point)
