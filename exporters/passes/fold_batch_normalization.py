"""BatchNormalization after Conv, ConvTranspose or Gemm becomes part of its weights.

With mean m, variance v, gamma g, beta b and epsilon e per channel (ONNX BatchNormalization, and
Ioffe & Szegedy 2015, arXiv:1502.03167):

    s = g / sqrt(v + e)
    BN(W x + c) = s (W x + c - m) + b = (s W) x + (s (c - m) + b)

so the output channels of W are scaled by s, and the bias becomes s (c - m) + b, also where there
was none (c = 0). A Gemm computes alpha A B + beta C: s scales the columns of B, and beta moves into
the new bias. The new constants are computed in float64 and rounded once.

Any other BatchNormalization becomes a Mul and an Add by constants of one value per channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.errors import InternalError
from edgewise.exporters.passes.base import (
    Array,
    Declined,
    PassOutcome,
    bypass,
    is_op,
    make_node,
    replace,
)
from edgewise.graph import add_initializer, attribute, constant, consumers, node_label

_FOLDABLE = ("Conv", "ConvTranspose", "Gemm")


@dataclass(frozen=True, slots=True, eq=False)
class _Affine:
    """`y = scale x + shift` per channel, in float64."""

    scale: npt.NDArray[np.float64]
    shift: npt.NDArray[np.float64]


def fold_batch_normalization(model: ir.Model) -> PassOutcome:
    """Fold where the producer's result feeds nothing else; else spell it as Mul and Add."""
    modified, declined = False, []
    for node in list(model.graph):
        if not is_op(node, "BatchNormalization"):
            continue
        affine = _affine(node)
        if isinstance(affine, str):
            declined.append(Declined(node_label(node), affine))
            continue
        source = node.inputs[0]
        before = None if source is None else source.producer()
        if before is not None and is_op(before, *_FOLDABLE):
            reason = _fold(model.graph, before, node, affine)
            if reason is None:
                modified = True
                continue
            declined.append(Declined(node_label(node), reason))
        modified |= _spell_out(model.graph, node, affine)
    return PassOutcome(model, modified, tuple(declined))


def _affine(node: ir.Node) -> _Affine | str:
    """Scale and shift, or why they are not known."""
    if attribute(node, "training_mode", 0) or any(out.uses() for out in node.outputs[1:]):
        return "it is in training mode"
    arrays = [constant(value) for value in node.inputs[1:5]]
    if any(array is None for array in arrays):
        return "its statistics are computed in the graph"
    gamma, beta, mean, variance = (a.astype(np.float64) for a in arrays if a is not None)
    scale = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return _Affine(scale, beta - mean * scale)


def _fold(graph: ir.Graph, before: ir.Node, norm: ir.Node, affine: _Affine) -> str | None:
    """Change the weights of `before` and drop `norm`; a text says why that is impossible."""
    result = before.outputs[0]
    if result.is_graph_output() or consumers(result) != [norm]:
        return f"the result of '{node_label(before)}' is used elsewhere too"
    weight_value = before.inputs[1]
    weight = constant(weight_value)
    if weight is None:
        return f"the weights of '{node_label(before)}' are computed in the graph"
    bias_value = before.inputs[2] if len(before.inputs) > 2 else None
    bias = _bias(before, bias_value, len(affine.scale))
    if bias is None:
        return f"the bias of '{node_label(before)}' is not one constant per channel"
    scaled = _scaled_weight(before, weight, affine.scale).astype(weight.dtype)
    shifted = (affine.scale * bias + affine.shift).astype(weight.dtype)
    name = str(getattr(weight_value, "name", "weight"))
    bias_name = str(bias_value.name) if bias_value is not None else f"{name}_bias"
    before.resize_inputs(3)
    before.replace_input_with(1, add_initializer(graph, f"{name}_folded", scaled))
    before.replace_input_with(2, add_initializer(graph, f"{bias_name}_folded", shifted))
    if is_op(before, "Gemm"):
        before.attributes.add(ir.AttrFloat32("beta", 1.0))
    if not bypass(graph, norm, result):
        raise InternalError("a made value that is no output can always take another's place")
    return None


def _bias(node: ir.Node, value: ir.Value | None, channels: int) -> npt.NDArray[np.float64] | None:
    if value is None:
        return np.zeros(channels)
    bias = constant(value)
    if bias is None or not (bias.size == 1 or bias.size == channels == bias.shape[-1]):
        return None
    factor = float(attribute(node, "beta", 1.0)) if is_op(node, "Gemm") else 1.0
    return np.broadcast_to(factor * bias.astype(np.float64).reshape(-1), (channels,))


def _scaled_weight(node: ir.Node, weight: Array, scale: npt.NDArray[np.float64]) -> Array:
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


def _spell_out(graph: ir.Graph, node: ir.Node, affine: _Affine) -> bool:
    """`x * scale + shift`. Needs the rank, to line the channels up with axis 1."""
    data = node.inputs[0]
    if data is None or data.shape is None or data.dtype is None:
        return False
    shape, dtype = (-1, *[1] * (len(data.shape) - 2)), data.dtype.numpy()
    label = node_label(node)
    scale = add_initializer(graph, f"{label}_scale", affine.scale.reshape(shape).astype(dtype))
    shift = add_initializer(graph, f"{label}_shift", affine.shift.reshape(shape).astype(dtype))
    multiply = make_node("Mul", [data, scale], name=f"{label}_scale")
    product = multiply.outputs[0]
    product.name, product.type, product.shape = f"{label}_scaled", data.type, data.shape
    replace(graph, node, [multiply, make_node("Add", [product, shift], name=label)])
    return True
