"""A prepared ONNX model (float or QDQ) as a TFLite graph: the walk over the nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.errors import ModelError, UnsupportedOperator
from edgewise.findings import Finding
from edgewise.graph import consumers, node_label, static_shape
from edgewise.graph.expand import CannotExpand
from edgewise.targets.android.admission import check_inputs, node_obstacle, size_obstacle
from edgewise.targets.android.boundary import Ends, add_input, add_output
from edgewise.targets.android.call import Call, Context, integer_constant
from edgewise.targets.android.layout import Value, identity
from edgewise.targets.android.model import INT8, INT16, Array, Graph, Tensor
from edgewise.targets.android.narrow_bias import narrow_biases
from edgewise.targets.android.ops.int16_limits import INT16_LIMITS
from edgewise.targets.android.ops.table import INT16_OPERATORS, LOWERINGS, Lowering
from edgewise.targets.android.qdq import DEQUANTIZE, QUANTIZE, QdqPlan
from edgewise.targets.android.reshapes import merge_reshapes
from edgewise.targets.android.shifts import merge_shifts
from edgewise.targets.base import TensorSignature

#: the model's own numbers, pictures NHWC
_OWN_ENDS = Ends()
#: what the runtime has room for in the shape that it hands to kernels
_MOST_AXES = 8
#: operators of integers that may read no computed float: they choose from constants, such as the
#: table of an embedding
_READING_CONSTANTS = frozenset({"Gather", "GatherElements", "GatherND", "Where"})


@dataclass(frozen=True, slots=True)
class Lowered:
    """The finished graph, both ends of it, remarks, and the nodes that could not be expressed.

    With `refusals` the graph is incomplete and must not be written.
    """

    graph: Graph
    inputs: tuple[TensorSignature, ...]
    outputs: tuple[TensorSignature, ...]
    findings: tuple[Finding, ...]
    refusals: tuple[UnsupportedOperator, ...]
    #: quantized ONNX values, and what takes their place
    stands_for: Mapping[ir.Value, Value]
    #: see `Context`
    column_orders: Mapping[ir.Value, Array]
    float_nodes: Mapping[str, tuple[str, str]]


def lower(
    model: ir.Model,
    declined: Mapping[ir.Node, CannotExpand] | None = None,
    *,
    ends: Ends = _OWN_ENDS,
) -> Lowered:
    """Lower every node of a legalized model; all refusals are gathered, none is raised.

    Args:
        model: from `legalize`, shapes static.
        declined: why nodes without a lowering could not be expanded.
        ends: dtype and layout of inputs and outputs.

    Raises:
        ModelError: a shape is not static, or a dtype does not exist in TFLite.
    """
    check_inputs(model.graph)
    plan = QdqPlan(model.graph)
    context = Context(plan, declined=declined or {}, lower_nodes=_lower_nodes)
    refusals = list(plan.refusals)
    inputs = [
        add_input(context, value, ends)
        for value in model.graph.inputs
        if value.name not in model.graph.initializers
    ]
    for node in model.graph:
        if refusals and not all(_has_static_shape(v) for v in node.inputs if v is not None):
            _stand_in(context, node)  # what a refused node gives may have any size
            continue
        try:
            _lower_node(context, node)
        except UnsupportedOperator as refusal:
            refusals.append(refusal)
            _stand_in(context, node)
        except ModelError:
            if not refusals:  # behind a refused node, shapes are unknown
                raise
            _stand_in(context, node)
    outputs = [
        add_output(context, value, ends)
        for value in model.graph.outputs
        if not refusals or _has_static_shape(value)  # that of a refused node may be unknown
    ]
    merge_shifts(context.builder.graph)
    merge_reshapes(context.builder.graph)
    narrow_biases(context.builder.graph)
    context.builder.graph.remove_dead()
    return Lowered(
        context.builder.graph,
        tuple(inputs),
        tuple(outputs),
        tuple(context.findings),
        tuple(refusals),
        {value: context.values[value] for value in plan.parameters if value in context.values},
        context.column_orders,
        context.float_nodes,
    )


def _has_static_shape(value: ir.Value) -> bool:
    return value.shape is not None and all(isinstance(dim, int) for dim in value.shape)


def _lower_nodes(context: Context, graph: ir.Graph) -> None:
    """Lower the body of an operator. The first refusal is raised."""
    for node in graph:
        _lower_node(context, node)


def _lower_node(context: Context, node: ir.Node) -> None:
    plan = context.plan
    if node in plan.absorbed:
        return
    if all(plan.constant(value) is not None for value in node.outputs):
        return
    if node.op_type == DEQUANTIZE:
        _lower_dequantize(context, node)
        return
    if node.op_type == QUANTIZE:
        _lower_quantize(context, node)
        return
    lowering = LOWERINGS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if lowering is None:
        raise Call(context, node, False).refuse(*_why_unknown(context, node))
    refused = node_obstacle(node, plan.constant)
    if refused is not None:
        raise Call(context, node, False).refuse(*refused)
    _check_sizes(context, node)
    stored = _stored_dtype(plan, node)
    obstacle = _int8_obstacle(context, node, lowering, stored)
    if obstacle is not None and plan.realised and _computes_on_floats(plan, node):
        reason = obstacle if lowering.int8 is not None else "TFLite has no integer kernel for it"
        context.float_nodes[node_label(node)] = node.op_type, reason
    lowering.lower(Call(context, node, obstacle is None, stored or INT8))


def _check_sizes(context: Context, node: ir.Node) -> None:
    """Raises UnsupportedOperator for a tensor without elements or of too many axes."""
    computed = [v for v in node.inputs if v is not None and context.plan.constant(v) is None]
    for value in (*computed, *node.outputs):
        if value.shape is not None and 0 in value.shape:
            raise Call(context, node, False).refuse(
                f"its tensor '{value.name}' has no elements", "Leave that part out of the model."
            )
        if value.shape is not None and len(value.shape) > _MOST_AXES:
            raise Call(context, node, False).refuse(
                f"its tensor '{value.name}' has {len(value.shape)} axes; TFLite takes {_MOST_AXES}",
                "Merge axes in the model.",
            )


def _why_unknown(context: Context, node: ir.Node) -> tuple[str, str]:
    if node in context.declined:
        return context.declined[node].why, context.declined[node].remedy
    if node.op_type.startswith("QLinear") or node.op_type.endswith("Integer"):
        return (
            "it belongs to the operator-oriented (QOperator) form of a quantized model",
            "Quantize to the QDQ format.",
        )
    if node.domain not in ("", "ai.onnx"):
        return f"it belongs to the domain '{node.domain}'", "Use operators of the ONNX standard."
    return size_obstacle(node) or (
        "there is no TFLite form for it in Edgewise",
        "Replace it in the model, or leave that part out of the exported graph.",
    )


def _lower_quantize(context: Context, node: ir.Node) -> None:
    plan = context.plan
    output, source = node.outputs[0], node.inputs[0]
    if output in context.values:
        return
    if output not in plan.parameters or source is None:  # the plan has refused the node
        _stand_in(context, node)
        return
    context.builder.origin = node_label(node)
    stored = plan.stored.get(source)
    value = context.values[source if stored is None else stored]
    context.values[output] = context.builder.quantize(value, plan.parameters[output])


def _lower_dequantize(context: Context, node: ir.Node) -> None:
    """Nothing is written: readers take the tensor that the node reads."""
    stored = context.plan.stored.get(node.outputs[0])
    if stored is None:  # the plan has refused the node
        _stand_in(context, node)
        return
    found = context.values[stored].quantization
    if not context.plan.parameters[stored].same_as(found):
        raise Call(context, node, False).refuse(
            "it reads with another scale or zero point than the tensor was written with",
            "Quantize the model again.",
        )


def _stored_dtype(plan: QdqPlan, node: ir.Node) -> np.dtype[Any] | None:
    """int8 or int16, where all activations around the node are stored so; else None."""
    inputs = [plan.parameters[plan.stored[v]] for v in node.inputs if v in plan.stored]
    results = [plan.result(node, index) for index in range(len(node.outputs))]
    outputs = [plan.realised[value] for value in results if value in plan.realised]
    dtypes = {quantization.dtype for quantization in (*inputs, *outputs)}
    return dtypes.pop() if len(dtypes) == 1 else None


def _int8_obstacle(
    context: Context, node: ir.Node, lowering: Lowering, stored: np.dtype[Any] | None
) -> str | None:
    """Why the node cannot run on integers; None when it can."""
    plan = context.plan
    data = _float_inputs(plan, node)
    if not data and stored is not None and node.op_type in _READING_CONSTANTS:
        obstacle = _constants_obstacle(plan, node, stored)
        if obstacle is not None:
            return obstacle
    elif not any(value in plan.stored for value in data):
        return "it has no quantized input"
    if stored is None:
        return "its inputs and outputs are not all int8 or all int16"
    if lowering.int8 is None or (stored == INT16 and node.op_type not in INT16_OPERATORS):
        return f"TFLite has no matching {stored} kernel for it"
    for value in data:
        if value not in plan.stored:
            return f"its input '{value.name}' is not quantized"
    for index, output in enumerate(node.outputs):
        if output.dtype != ir.DataType.FLOAT or not (output.uses() or output.is_graph_output()):
            continue
        if plan.result(node, index) not in plan.realised:
            return f"its output '{output.name}' is not quantized"
    call = Call(context, node, True, stored)
    limit = INT16_LIMITS.get(node.op_type) if stored == INT16 else None
    return lowering.int8(call) or (None if limit is None else limit(call))


def _constants_obstacle(plan: QdqPlan, node: ir.Node, stored: np.dtype[Any]) -> str | None:
    """Why the float constants of a node that reads nothing else cannot be integers."""
    for value in node.inputs:
        if value is not None and value.dtype == ir.DataType.FLOAT:
            found = integer_constant(plan, value, stored)
            if isinstance(found, str):
                return found
    return None


def _float_inputs(plan: QdqPlan, node: ir.Node) -> list[ir.Value]:
    return [
        value
        for value in node.inputs
        if value is not None
        and plan.constant(value) is None
        and (value in plan.stored or value.dtype == ir.DataType.FLOAT)
    ]


def _computes_on_floats(plan: QdqPlan, node: ir.Node) -> bool:
    return bool(_float_inputs(plan, node))


def _stand_in(context: Context, node: ir.Node) -> None:
    """Placeholders for the results of a refused node, so that the walk finds later ones too."""
    for index, output in enumerate(node.outputs):
        target = context.plan.result(node, index)
        try:
            shape = static_shape(output)
        except ModelError:
            shape = ()
        dtype = (output.dtype or ir.DataType.FLOAT).numpy()
        quantization = context.plan.realised.get(target)
        tensor = Tensor(shape, dtype, quantization or context.plan.parameters.get(target))
        value = Value(tensor, identity(len(shape)))
        context.values[target] = value
        if quantization is not None:
            for reader in consumers(target):
                context.values[reader.outputs[0]] = value
