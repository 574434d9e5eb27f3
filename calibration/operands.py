"""What each input of a quantized operator is: activation, weight, bias or configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import onnx_ir as ir

from edgewise.calibration.scheme import NumberFormat
from edgewise.graph import attribute, constant

Role = Literal["activation", "weight", "bias", "other"]

#: operators with weights in input 1 and an int32 bias in input 2
BIASED_OPS = frozenset({"Conv", "ConvTranspose", "Gemm"})

#: float inputs that configure the operator instead of carrying data
_CONFIGURATION: Mapping[str, frozenset[int]] = {
    "Clip": frozenset({1, 2}),
    "Resize": frozenset({1, 2}),
    "Dropout": frozenset({1}),
}

#: operators whose state or statistics have no per-tensor integer form in QDQ
UNQUANTIZABLE_OPS = frozenset(
    {
        "BatchNormalization", "GRU", "GroupNormalization", "InstanceNormalization", "LSTM",
        "LayerNormalization", "RMSNormalization", "RNN",
    }
)  # fmt: skip


def is_float(value: ir.Value | None) -> bool:
    """Whether the value is a float32 tensor."""
    if value is None:
        return False
    if value.const_value is not None:
        return value.const_value.dtype is ir.DataType.FLOAT
    return value.dtype is ir.DataType.FLOAT


def role(node: ir.Node, index: int) -> Role:
    """The part that input `index` plays when the node is quantized."""
    value = node.inputs[index]
    if not is_float(value) or index in _CONFIGURATION.get(node.op_type, ()):
        return "other"
    if node.op_type in BIASED_OPS and index in (1, 2):
        return "weight" if index == 1 else "bias"
    if node.op_type == "MatMul" and constant(value) is not None:
        return "weight"
    return "activation"


def inputs_of_role(node: ir.Node, wanted: Role) -> list[ir.Value]:
    """The inputs that play this part, in order."""
    return [
        value
        for index, value in enumerate(node.inputs)
        if value is not None and role(node, index) == wanted
    ]


def float_outputs(node: ir.Node) -> list[ir.Value]:
    """The float outputs, all of which are activations."""
    return [value for value in node.outputs if value.name and is_float(value)]


def activations(node: ir.Node) -> list[ir.Value]:
    """Every float tensor that must be quantized as an activation, constants included."""
    return [*inputs_of_role(node, "activation"), *float_outputs(node)]


def channel_axis(node: ir.Node, weight: ir.Value, number: NumberFormat) -> int | None:
    """The output-channel axis of a weight, or None where it takes one scale for the whole tensor.

    1. Conv: axis 0 of (M, C/group, ...).
    2. ConvTranspose: axis 1 of (C, M/group, ...); with groups the channels of all groups would
       share scales, so that one scale is used.
    3. Gemm: the axis of N.
    4. MatMul: axis 1 of a second operand of rank 2; no kernel takes more on other forms.
    """
    if number.granularity != "per_channel":
        return None
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1 if attribute(node, "group", 1) == 1 else None
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    rank = 0 if weight.shape is None else len(weight.shape)
    return 1 if rank == 2 and node.inputs[1] is weight else None


def output_channels(node: ir.Node) -> int:
    """How many channels the bias of a Conv, ConvTranspose or Gemm with constant weights has."""
    weight = node.inputs[1]
    if weight is None or weight.const_value is None:
        raise ValueError(f"{node.op_type} without constant weights")
    shape = weight.const_value.shape.numpy()
    if node.op_type == "Conv":
        return int(shape[0])
    if node.op_type == "ConvTranspose":
        return int(shape[1]) * int(attribute(node, "group", 1))
    return int(shape[0 if attribute(node, "transB", 0) else 1])
