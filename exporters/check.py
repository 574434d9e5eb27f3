"""What the ONNX checker has to say."""

from __future__ import annotations

import onnx
import onnx_ir as ir

#: protobuf cannot hold more, and the checker takes one message
_CHECKABLE_BYTES = 1_800_000_000


def checker_problem(model: ir.Model) -> str:
    """The first thing that makes the model invalid; nothing for a valid one or one too large.

    The checker wants a shape at the border even of unknown rank, which runtimes do not: that alone
    is let pass.
    """
    size = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value)
    if size > _CHECKABLE_BYTES:
        return ""
    proto = ir.to_proto(model)
    for value in (*proto.graph.input, *proto.graph.output):
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        return str(error).strip().splitlines()[0]
    return ""
