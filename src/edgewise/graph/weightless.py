"""Models without their weights, for those parts of the `onnx` package that are written in C++.

They take one protobuf message, which has to be copied for each call and cannot exceed 2 GB. Neither
the checker, nor the version converter, nor shape inference looks into large constants: these become
inputs of the graph for as long as the call takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import onnx
import onnx_ir as ir

#: constants of more bytes; shapes, axes, scales of Resize and the like are smaller
_SMALL_BYTES = 4096
Result = TypeVar("Result")


def call_without_weights(model: ir.Model, call: Callable[[onnx.ModelProto], Result]) -> Result:
    """What `call` gives for the message; the model is as it was afterwards."""
    graph = model.graph
    kept = dict(graph.initializers)
    heavy = [value for value in kept.values() if _is_heavy(value)]
    inputs = list(graph.inputs)
    tensors = [value.const_value for value in heavy]
    try:
        for value in heavy:
            del graph.initializers[value.name or ""]
            value.const_value = None
            if not value.is_graph_input():
                graph.inputs.append(value)
        proto = ir.to_proto(model)
    finally:
        graph.inputs.clear()
        graph.inputs.extend(inputs)
        for value, tensor in zip(heavy, tensors, strict=True):
            value.const_value = tensor
        graph.initializers.clear()
        graph.initializers.update(kept)
    return call(proto)


def put_weights_back(model: ir.Model, original: ir.Model) -> None:
    """Turn the inputs that stand for weights of `original` into constants again, in place."""
    for name, value in original.graph.initializers.items():
        if not _is_heavy(value) or name in model.graph.initializers:
            continue
        stand_in = next((v for v in model.graph.inputs if v.name == name), None)
        if stand_in is None:
            continue  # nothing reads it any more
        if not value.is_graph_input():
            model.graph.inputs.remove(stand_in)
        stand_in.const_value = _plain(value.const_value, name)
        model.graph.register_initializer(stand_in)


def _plain(tensor: ir.TensorProtocol | None, name: str) -> ir.TensorProtocol | None:
    """The same elements, without comments, metadata and where they were stored."""
    if tensor is None:
        return None
    shape = ir.Shape(tensor.shape.numpy())
    return ir.Tensor(tensor.numpy(), dtype=tensor.dtype, shape=shape, name=name)


def _is_heavy(value: ir.Value) -> bool:
    """Whether it is a large constant, of a type that can stand at the border."""
    tensor = value.const_value
    if tensor is None or tensor.nbytes <= _SMALL_BYTES or tensor.dtype == ir.DataType.STRING:
        return False
    if value.shape is None:
        value.shape = ir.Shape(tensor.shape.numpy())
    if value.type is None:
        value.type = ir.TensorType(tensor.dtype)
    return True
