"""Operators on integers that carry their scales (QLinearConv and the like): the float operator.

    QLinearX(q, s, z, ..., t, y) = Q(X(DQ(q; s, z), ...); t, y)

The int32 bias of QLinearConv has the scale s_x s_w, that of QGemm alpha s_a s_b.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.exporters.quantized.lifting import Lifted, unsupported
from edgewise.exporters.quantized.operands import FLOAT_OPERATORS, parameters_at, places
from edgewise.exporters.quantized.saturation import saturated
from edgewise.graph import TensorQuantization, attribute, constant

_BIAS = {"QLinearConv": 8, "QGemm": 6}
#: attributes that only the integer operator has
_OWN = frozenset({"channels_last", "opset"})


def lift_qoperator(lifted: Lifted, node: ir.Node) -> None:
    """Raises ModelError: scales are computed, or an attribute has no meaning in float."""
    where = places(node)
    used: dict[int, TensorQuantization] = {}
    operands: list[ir.Value | None] = []
    if node.op_type == "QLinearWhere":
        operands.append(node.inputs[0])
    for index, scale in where.inputs.items():
        value = node.inputs[index]
        if value is None:
            raise unsupported(node, f"input {index} is absent")
        used[index] = parameters_at(node, scale, value)
        operands.append(lifted.real(value, used[index]))
    bias = _BIAS.get(node.op_type)
    if bias is not None and bias < len(node.inputs) and node.inputs[bias] is not None:
        operands.append(_bias(lifted, node, bias, used[0], used[3]))
    attributes = _attributes(node)
    if "axes" in attributes:
        axes = np.array(attribute(node, "axes"), np.int64)
        operands.append(lifted.new_constant(f"{node.name}_axes", axes))
        del attributes["axes"]
    output = node.outputs[0]
    given = where.output < len(node.inputs) and node.inputs[where.output] is not None
    real = lifted.stand_in(node, FLOAT_OPERATORS[node.op_type], operands, attributes)[0]
    if given:
        parameters = parameters_at(node, where.output)
        lifted.hold(output, saturated(lifted, real, parameters), parameters)
    else:  # QGemm without a scale of its output gives floats
        lifted.substitute(output, real)


def _bias(
    lifted: Lifted, node: ir.Node, index: int, x: TensorQuantization, w: TensorQuantization
) -> ir.Value:
    value = node.inputs[index]
    integers = constant(value)
    if value is None or integers is None:
        raise unsupported(node, "its bias is computed")
    alpha = float(attribute(node, "alpha", 1.0)) if node.op_type == "QGemm" else 1.0
    scale = x.scale.astype(np.float64) * w.scale.astype(np.float64) * alpha
    name = (value.name or "").removesuffix("_quantized")
    return lifted.new_constant(name, (integers * scale).astype(np.float32))


def _attributes(node: ir.Node) -> dict[str, Any]:
    if attribute(node, "channels_last", 0):
        raise unsupported(node, "its channels are last")
    if node.op_type == "QLinearSoftmax" and attribute(node, "opset", 13) < 13:
        rank = None if node.outputs[0].shape is None else len(node.outputs[0].shape)
        axis = int(attribute(node, "axis", 1))
        if axis not in (-1, None if rank is None else rank - 1):
            raise unsupported(node, "its axis is not the last one, which had another meaning then")
    return {name: value for name, value in node.attributes.items() if name not in _OWN}
