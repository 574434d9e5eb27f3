"""Quantize-dequantize pairs that count from -128 count from 0 in the package: uint8, zero point 0.

With scale s, q = round(x / s) - 128 clipped to [-128, 127] and q' = round(x / s) clipped to [0,
255] stand for the same values: q' = q + 128 and (q - (-128)) s = (q' - 0) s. Core ML is faster
where the zero point is 0 (coremltools, `nullify_redundant_quantization_zero_point`), and Apple's
quantizers give ReLUs this form. coremltools' own pass would do the same after `verify_program`
knows what the program promises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.graph import add_initializer, consumers, quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.targets.base import Array

_LEAST = np.iinfo(np.int8).min


def store_unsigned(model: ir.Model) -> int:
    """Rewrite, in place, every int8 pair with zero point -128 and one scale whose integers nothing
    but DequantizeLinear reads; gives the number of pairs. Constants keep their integers."""
    graph = model.graph
    stored: ir.Value | None = None
    count = 0
    for node in graph:
        if node.op_type != QUANTIZE or not _counts_from_least(node):
            continue
        readers = consumers(node.outputs[0])
        if not readers or node.outputs[0].is_graph_output():
            continue
        own = quantization_of(node)
        if any(n.op_type != DEQUANTIZE or not own.same_as(quantization_of(n)) for n in readers):
            continue
        stored = stored or add_initializer(graph, "unsigned_zero", np.zeros((), np.uint8))
        for end in (node, *readers):
            end.replace_input_with(2, stored)
        node.attributes.pop("output_dtype", None)
        node.outputs[0].type = ir.TensorType(ir.DataType.UINT8)
        count += 1
    return count


def as_stored(integers: Array, dtype: np.dtype[Any]) -> Array:
    """Integers of the QDQ model as the package counts them, whose type is given."""
    if dtype != np.uint8 or integers.dtype != np.int8:
        return integers
    return (integers.astype(np.int16) - _LEAST).astype(np.uint8)


def _counts_from_least(node: ir.Node) -> bool:
    if len(node.inputs) < 3 or node.inputs[0] is None or node.inputs[0].const_value is not None:
        return False
    found = quantization_of(node)
    return found.per_tensor and found.zero_point.dtype == np.int8 and found.zero_point == _LEAST
