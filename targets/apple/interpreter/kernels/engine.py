"""Heavy arithmetic through ONNX Runtime: single operators in float32, cached by their attributes.

Only the loops are borrowed. What an operation means (padding, cropping, rounding) stays in the
kernels, which follow the MIL operator documentation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

from edgewise.targets.apple.interpreter.kernels.base import Array

_OPSET = 21
#: one operator, its attributes sorted by name
Attributes = tuple[tuple[str, int | str | tuple[int, ...]], ...]


@lru_cache(maxsize=1024)
def operator(
    op_type: str, arity: int, attributes: Attributes = (), threads: int = 1
) -> Callable[..., Array]:
    """A function that applies one ONNX operator to `arity` float32 arrays of any shape."""
    names = [f"in{position}" for position in range(arity)]
    node = helper.make_node(op_type, names, ["out"])
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes)
    return _function([node], names, threads)


@lru_cache(maxsize=8)
def half_rounder(threads: int = 1) -> Callable[[Array], Array]:
    """Round float32 to the nearest fp16 value (ties to even), kept in float32.

    The same values as numpy's two casts, many times faster.
    """
    down = helper.make_node("Cast", ["in0"], ["half"], to=onnx.TensorProto.FLOAT16)
    up = helper.make_node("Cast", ["half"], ["out"], to=onnx.TensorProto.FLOAT)
    return _function([down, up], ["in0"], threads)


def _function(nodes: list[onnx.NodeProto], names: list[str], threads: int) -> Callable[..., Array]:
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]
    out = helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)
    session = open_graph(helper.make_graph(nodes, "operator", values, [out]), threads)

    def call(*arrays: Array) -> Array:
        feeds = {
            name: np.asarray(array, np.float32, order="C")
            for name, array in zip(names, arrays, strict=True)
        }
        return np.asarray(session.run(["out"], feeds)[0])

    return call


def open_graph(graph: onnx.GraphProto, threads: int) -> ort.InferenceSession:
    """A session that computes the graph as it is written."""
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    return ort.InferenceSession(
        model.SerializeToString(), _options(threads), providers=["CPUExecutionProvider"]
    )


def _options(threads: int) -> ort.SessionOptions:
    """Literal arithmetic, and threads that sleep: many spinning pools would starve each other."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
