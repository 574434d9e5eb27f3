"""What the ONNX checker has to say."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from edgewise.errors import UnsupportedOperator
from edgewise.graph import node_label
from edgewise.graph.weightless import call_without_weights

#: protobuf cannot hold more, and the checker takes one message
_CHECKABLE_BYTES = 1_800_000_000
_FIRST_IR_WITH_CONSTANTS = 4
#: domains with operators that ONNX Runtime computes
_KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})


def refuse_custom_operators(model: ir.Model) -> None:
    """Raises UnsupportedOperator for the first node that nobody can compute: of a domain that is
    not ONNX's or ONNX Runtime's, and without a function in the model."""
    for node in model.graph.all_nodes():
        known = node.domain in _KNOWN_DOMAINS or node.domain.startswith("ai.onnx.preview")
        if not known and node.op_identifier() not in model.functions:
            raise UnsupportedOperator(
                node_label(node),
                node.op_type,
                target="ONNX Runtime",
                why=f"it belongs to the domain '{node.domain}'",
                remedy="Use operators of the ONNX standard, or define it as a function in the "
                "model.",
            )


def checker_problem(model: ir.Model, *, weights: bool = True) -> str:
    """The first thing that makes the model invalid; nothing for a valid one or one too large.

    Large constants are looked at only with `weights`, which copies all of them. What runtimes do
    not mind is let pass: a border without a shape, a graph without a name, and initializers that
    are no inputs in a file of the time when they had to be (IR version 3).
    """
    size = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value)
    try:
        if not weights:
            return call_without_weights(model, _problem)
        return "" if size > _CHECKABLE_BYTES else _problem(ir.to_proto(model))
    except ir.serde.SerdeError as error:
        return _unwritable(error)


def _unwritable(error: BaseException) -> str:
    """Of an error at each level of the model, around the first one."""
    while error.__cause__ is not None:
        error = error.__cause__
    return "a name in it is no UTF-8 text" if isinstance(error, UnicodeError) else str(error)


def _problem(proto: onnx.ModelProto) -> str:
    proto.ir_version = max(proto.ir_version, _FIRST_IR_WITH_CONSTANTS)
    proto.graph.name = proto.graph.name or "graph"
    for value in (*proto.graph.input, *proto.graph.output):
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        return " ".join(str(error).replace("==> Context:", "in").split())
    return ""
