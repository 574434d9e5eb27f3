"""Shapes of a rewritten graph: inferred anew, and compared with those that its values carry."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from edgewise.graph.weightless import call_without_weights


def update_shapes(model: ir.Model) -> str:
    """Infer the shapes of all values from those of the inputs, in place; tells of the first that
    contradicts what the value carries, or of types that do not fit their operator.

    Inference starts from nothing: it would keep the name that it once gave to a dimension, where
    now it sees that the dimension is that of an input. What it cannot infer stays as it was.
    """
    carried = {
        value: (value.shape, value.type)
        for node in model.graph
        for value in node.outputs
        if not value.is_graph_output()
    }
    try:
        for value in carried:
            value.shape = value.type = None
        inferred = call_without_weights(model, _infer)
    except onnx.shape_inference.InferenceError as error:
        return str(error).strip().splitlines()[0]
    finally:
        for value, (shape, kind) in carried.items():
            value.shape, value.type = shape, kind
    found = {info.name: info.type for info in inferred.graph.value_info}
    for node in model.graph:
        for value in node.outputs:
            inferred_type = found.get(value.name or "")
            if inferred_type is not None and (problem := _take(value, inferred_type)):
                return problem
    return ""


def _infer(proto: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(
        proto, check_type=True, strict_mode=False, data_prop=True
    )


def _take(value: ir.Value, kind: onnx.TypeProto) -> str:
    """Give the value what was inferred; a text where that cannot be."""
    known = ir.serde.deserialize_type_proto_for_type(kind)
    shape = ir.serde.deserialize_type_proto_for_shape(kind)
    if known is not None and value.type is not None and known.dtype != value.type.dtype:
        return f"'{value.name}' carries {value.type}, but its operator gives {known}"
    value.type = value.type or known
    if shape is None:
        return ""
    old = value.shape
    if old is not None and (len(old) != len(shape) or any(map(_differ, old, shape))):
        return f"'{value.name}' carries the shape {old}, but its operator gives {shape}"
    if old is None:
        value.shape = shape
    else:
        pairs = zip(old, shape, strict=True)
        value.shape = ir.Shape([a if isinstance(a, int) or _nameless(b) else b for a, b in pairs])
    return ""


def _differ(one: int | ir.SymbolicDim, other: int | ir.SymbolicDim) -> bool:
    return isinstance(one, int) and isinstance(other, int) and one != other


def _nameless(dim: int | ir.SymbolicDim) -> bool:
    return not isinstance(dim, int) and dim.value is None
