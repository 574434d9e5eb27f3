"""Shapes that inference does not find, seen in one run of the model in ONNX Runtime.

Graphs that compute their shapes from data, and those that ONNX Runtime's own optimizers wrote,
leave shapes open that are plain once the model runs. It runs on zeros, at the sizes of its inputs,
as it is written; where it cannot run, what is open stays open.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.graph import OrtSession

#: a model of more is not copied to look at it
_MOST_BYTES = 1_500_000_000


def observe_shapes(model: ir.Model) -> None:
    """Give values of the model's graph without a static shape that of a run, in place."""
    inputs = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
    open_values = [
        value
        for node in model.graph
        for value in node.outputs
        if value.name and (value.shape is None or not value.shape.is_static())
    ]
    stored = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value)
    if not open_values or stored > _MOST_BYTES or not all(map(_is_plain, inputs)):
        return
    feeds = {str(v.name): np.zeros(_sizes(v), v.dtype.numpy()) for v in inputs if v.dtype}
    ends = len(model.graph.outputs)
    model.graph.outputs.extend(v for v in open_values if not v.is_graph_output())
    try:
        results = OrtSession(model).run(feeds, [str(value.name) for value in open_values])
    except (ModelError, ValueError):  # not runnable alone, or at these sizes
        return
    finally:
        del model.graph.outputs[ends:]
    for value in open_values:
        array = results[str(value.name)]
        if array.dtype.kind != "O":  # a sequence, or text
            value.shape = ir.Shape(array.shape)
            value.dtype = ir.DataType.from_numpy(array.dtype)


def _is_plain(value: ir.Value) -> bool:
    numbers = value.dtype is not None and value.dtype is not ir.DataType.STRING
    return numbers and value.shape is not None and value.shape.is_static()


def _sizes(value: ir.Value) -> tuple[int, ...]:
    shape = value.shape
    return () if shape is None else tuple(int(size) for size in shape if isinstance(size, int))
