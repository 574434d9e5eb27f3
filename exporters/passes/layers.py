"""Layers with constant weights, and how passes change what they compute.

With W and c of a Conv, ConvTranspose or Gemm, and s and t of one value per output channel,

    s (W x + c) + t = (s W) x + (s c + t)

so the output channels of W are scaled by s, and the bias becomes s c + t, also where there was none
(c = 0). A Gemm computes alpha A B + beta C: s scales the columns of B, and beta moves into the new
bias. The new constants are computed in float64 and rounded once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.exporters.passes.base import Array, is_op, make_node
from edgewise.graph import add_initializer, attribute, constant, node_label

#: layers that `change_layer` knows, all with their channels at axis 1 of the result
LAYERS = ("Conv", "ConvTranspose", "Gemm")
Vector = npt.NDArray[np.float64]


def channels_of(layer: ir.Node) -> int | None:
    """How many output channels a layer has; None where its weights are not constant."""
    weight = constant(layer.inputs[1])
    if weight is None:
        return None
    if is_op(layer, "ConvTranspose"):
        return int(weight.shape[1]) * int(attribute(layer, "group", 1))
    transposed = is_op(layer, "Conv") or attribute(layer, "transB", 0)
    return int(weight.shape[0 if transposed else 1])


def change_layer(graph: ir.Graph, layer: ir.Node, scale: Vector, shift: Vector) -> str | None:
    """Let the layer compute `scale * y + shift`, per channel; a text says why it cannot.

    The old constants stay for their other readers.
    """
    weight_value = layer.inputs[1]
    weight = constant(weight_value)
    if weight is None:
        return f"the weights of '{node_label(layer)}' are computed in the graph"
    bias_value = layer.inputs[2] if len(layer.inputs) > 2 else None
    bias = _bias(layer, bias_value, len(scale))
    if bias is None:
        return f"the bias of '{node_label(layer)}' is not one constant per channel"
    shifted = (scale * bias + shift).astype(weight.dtype)
    name = str(getattr(weight_value, "name", "weight"))
    bias_name = str(bias_value.name) if bias_value is not None else f"{name}_bias"
    layer.resize_inputs(3)
    if not (scale == 1.0).all():
        scaled = _scaled_weight(layer, weight, scale).astype(weight.dtype)
        layer.replace_input_with(1, add_initializer(graph, f"{name}_folded", scaled))
    layer.replace_input_with(2, add_initializer(graph, f"{bias_name}_folded", shifted))
    if is_op(layer, "Gemm"):
        layer.attributes.add(ir.AttrFloat32("beta", 1.0))
    return None


def channel_layer(
    graph: ir.Graph, data: ir.Value, scale: Vector, shift: Vector, label: str
) -> ir.Node:
    """`scale * data + shift` per channel as a Conv of 1 x 1 with a group for each channel.

    Integer kernels add its bias, of 32 bits, before they round once; a product and a sum would
    round twice, and cost a node more. The rank and the type of `data` are known.
    """
    assert data.shape is not None and data.dtype is not None
    rank, dtype = len(data.shape), data.dtype.numpy()
    kernel = scale.reshape(-1, *[1] * (rank - 1)).astype(dtype)
    weight = add_initializer(graph, f"{label}_scale", kernel)
    bias = add_initializer(graph, f"{label}_shift", shift.astype(dtype))
    attributes = [
        ir.AttrInt64("group", len(scale)),
        ir.AttrInt64s("kernel_shape", [1] * (rank - 2)),
    ]
    return make_node("Conv", [data, weight, bias], name=label, attributes=attributes)


def _bias(node: ir.Node, value: ir.Value | None, channels: int) -> Vector | None:
    if value is None:
        return np.zeros(channels)
    bias = constant(value)
    if bias is None or not (bias.size == 1 or bias.size == channels == bias.shape[-1]):
        return None
    factor = float(attribute(node, "beta", 1.0)) if is_op(node, "Gemm") else 1.0
    return np.broadcast_to(factor * bias.astype(np.float64).reshape(-1), (channels,))


def _scaled_weight(node: ir.Node, weight: Array, scale: Vector) -> Array:
    """The weights in float64, each output channel times its scale."""
    wide = weight.astype(np.float64)
    if is_op(node, "Conv"):  # (out, in / group, spatial...)
        return wide * scale.reshape(-1, *[1] * (wide.ndim - 1))
    if is_op(node, "Gemm"):  # (in, out), or (out, in) with transB
        return wide * (scale[:, None] if attribute(node, "transB", 0) else scale)
    # ConvTranspose: (in, out / group, spatial...), where block g of `in` makes block g of `out`
    groups = int(attribute(node, "group", 1))
    blocks = wide.reshape(groups, -1, *wide.shape[1:])
    spread = scale.reshape(groups, 1, -1, *[1] * (wide.ndim - 2))
    return (blocks * spread).reshape(wide.shape)
