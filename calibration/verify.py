"""Proof, after the fact, that a QDQ model obeys its scheme.

Checked on the finished graph, independently of how it was made:
1. every quantized node is there, and each float input comes from a DequantizeLinear: activations
   per tensor in the activation type, weights in the weight type, bias int32;
2. every float output goes to QuantizeLinear only, or is fused with the activation that reads it;
3. symmetric formats have zero point 0 (mid-range when unsigned; or qmin, where they allow it),
   narrow weights avoid qmin, scales are numbers of the type that stores them;
4. per-channel weights are quantized along the channel axis;
5. bias scale = float32(s_in) * float32(s_w), zero point 0, present where the scheme demands it;
6. shared-scale operators carry one scale and zero point; prescribed outputs carry theirs;
7. where an activation folded away, the quantized range stays within its bounds;
8. QuantizeLinear and the DequantizeLinear behind it agree, and are in the default domain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import onnx_ir as ir

from edgewise.calibration.activation_functions import Bounds, enforces
from edgewise.calibration.operands import BIASED_OPS, channel_axis, float_outputs, role
from edgewise.calibration.parameters import limits, prescribed
from edgewise.calibration.scheme import NumberFormat, QuantParams, Scheme
from edgewise.errors import InternalError
from edgewise.graph import TensorQuantization, constant, consumers, node_label, quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE


@dataclass(frozen=True, slots=True)
class Promise:
    """What a QDQ model must keep: the names of its quantized nodes, the bounds of tensors whose
    activation folded away, and the tensors between an operator and its fused activation."""

    scheme: Scheme
    nodes: frozenset[str]
    folded: Mapping[str, Bounds]
    fused: frozenset[str]


def verify(model: ir.Model, promise: Promise) -> None:
    """Raises InternalError, naming the tensor, for the first rule that is broken."""
    scheme = promise.scheme
    if scheme.activation is None or scheme.weight is None:
        raise InternalError("only schemes with activation and weight formats can be verified")
    missing = promise.nodes - {node.name for node in model.graph}
    if missing:
        raise InternalError("a quantized node got lost", where=f"node '{min(missing)}'")
    values = {value.name: value for node in model.graph for value in node.outputs}
    for node in model.graph:
        if node.op_type in (QUANTIZE, DEQUANTIZE):
            _check_pair(node)
        elif node.name in promise.nodes:
            _check_node(node, promise, scheme.activation, scheme.weight)
    for name, bounds in promise.folded.items():
        if name not in values:
            _broken(name, "is missing", "an activation folded into it")
        found = output_quantization(values[name])
        if found is None or not enforces(_plain(found), scheme.activation, bounds):
            _broken(name, f"does not stay within {bounds}", "an activation folded into it")


def input_quantization(value: ir.Value | None) -> TensorQuantization | None:
    """Parameters of the DequantizeLinear that gives the value; None when another node does."""
    producer = None if value is None else value.producer()
    if producer is None or producer.op_type != DEQUANTIZE:
        return None
    return quantization_of(producer)


def output_quantization(value: ir.Value) -> TensorQuantization | None:
    """Parameters of the value's only QuantizeLinear; None when anything else reads it. A graph
    output's own name belongs to the end of its DequantizeLinear."""
    producer = value.producer()
    if producer is not None and producer.op_type == DEQUANTIZE:
        return quantization_of(producer)
    readers = consumers(value)
    if [node.op_type for node in readers] != [QUANTIZE] or value.is_graph_output():
        return None
    return quantization_of(readers[0])


def _broken(tensor: str | None, what: str, why: str) -> NoReturn:
    raise InternalError(f"the QDQ model breaks its scheme: {what}", where=f"'{tensor}'", why=why)


def _plain(found: TensorQuantization) -> QuantParams:
    return QuantParams(float(found.scale), int(found.zero_point))


def _check_pair(node: ir.Node) -> None:
    if node.domain not in ("", "ai.onnx"):
        _broken(node.name, f"{node.op_type} is in domain {node.domain}", "targets read ai.onnx")
    found = quantization_of(node)
    if not (np.isfinite(found.scale).all() and (found.scale > 0).all()):
        _broken(node.name, "a scale is not a positive number", "rule 8")
    if node.op_type == QUANTIZE:
        for use in node.outputs[0].uses():
            if use.node.op_type != DEQUANTIZE or not quantization_of(use.node).same_as(found):
                _broken(node.outputs[0].name, "Q and DQ disagree", "rule 8")


def _check_node(
    node: ir.Node, promise: Promise, activation: NumberFormat, weight: NumberFormat
) -> None:
    data: list[TensorQuantization] = []
    for index, value in enumerate(node.inputs):
        kind = _role(node, index)
        if value is None or kind == "other" or value.name in promise.fused:
            continue
        found = input_quantization(value)
        if found is None:
            _broken(value.name, f"{kind} input of {node_label(node)} is float", "rule 1")
        if kind == "activation":
            _check_activation(value.name, found, activation)
            data.append(found)
        elif kind == "weight":
            _check_weight(node, value, found, weight)
    for value in float_outputs(node):
        if value.name in promise.fused or not (value.uses() or value.is_graph_output()):
            continue
        found = output_quantization(value)
        if found is None:
            _broken(value.name, f"output of {node_label(node)} is used in float", "rule 2")
        _check_activation(value.name, found, activation)
        data.append(found)
        fixed = promise.scheme.fixed_outputs.get(node.op_type)
        if fixed is not None and _plain(found) != prescribed(fixed):
            _broken(value.name, f"{node.op_type} needs {fixed}, not {_plain(found)}", "rule 6")
    if node.op_type in promise.scheme.shared_scale_ops and not all(
        found.same_as(data[0]) for found in data
    ):
        _broken(node.name, "inputs and outputs carry different parameters", "rule 6")
    if node.op_type in BIASED_OPS:
        _check_bias(node, promise.scheme.bias_required)


def _role(node: ir.Node, index: int) -> str:
    """As `operands.role` on the float graph, where the weight of a MatMul is still a constant."""
    value = node.inputs[index]
    producer = None if value is None else value.producer()
    if node.op_type == "MatMul" and producer is not None and producer.op_type == DEQUANTIZE:
        return "weight" if constant(producer.inputs[0]) is not None else "activation"
    return role(node, index)


def _check_format(name: str | None, found: TensorQuantization, number: NumberFormat) -> None:
    if found.zero_point.dtype != np.dtype(number.dtype):
        _broken(name, f"is {found.zero_point.dtype}, not {number.dtype}", "rule 1")
    middle = 0 if number.dtype.startswith("int") else (limits(number)[1] + 1) // 2
    allowed = (middle, limits(number)[0]) if number.whole_range_if_positive else (middle,)
    if number.symmetric and not np.isin(found.zero_point, allowed).all():
        _broken(name, "has a zero point in a symmetric format", "rule 3")
    if (found.scale != found.scale.astype(number.scale_dtype).astype(np.float32)).any():
        _broken(name, f"has a scale that is not a {number.scale_dtype} number", "rule 3")


def _check_activation(name: str | None, found: TensorQuantization, number: NumberFormat) -> None:
    _check_format(name, found, number)
    if not found.per_tensor:
        _broken(name, "is an activation with several scales", "rule 1")


def _check_weight(
    node: ir.Node, value: ir.Value, found: TensorQuantization, number: NumberFormat
) -> None:
    _check_format(value.name, found, number)
    producer = value.producer()
    stored = constant(producer.inputs[0]) if producer is not None else None
    if stored is None:
        _broken(value.name, "is a weight that is computed", "rule 1")
    if number.narrow_range and stored.size and stored.min() < limits(number)[0]:
        _broken(value.name, "holds the smallest integer of a narrow range", "rule 3")
    axis = channel_axis(node, value, number)
    single = axis is None or stored.shape[axis] == 1
    if not (found.per_tensor if single else found.axis == axis):
        _broken(value.name, f"has channel axis {found.axis}, not {axis}", "rule 4")


def _check_bias(node: ir.Node, required: bool) -> None:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        if required:
            _broken(node.name, "has no bias", "rule 5")
        return
    found, source = input_quantization(bias), input_quantization(node.inputs[0])
    weight = input_quantization(node.inputs[1])
    if found is None or source is None or weight is None:
        _broken(bias.name, "is a float bias", "rule 5")
    if found.zero_point.dtype != np.int32 or found.zero_point.any():
        _broken(bias.name, "is not int32 with zero point 0", "rule 5")
    wanted = (source.scale * weight.scale).astype(np.float32)
    if not np.array_equal(found.scale, wanted.reshape(found.scale.shape)):
        _broken(bias.name, "has a scale that is not s_in * s_w", "rule 5")
