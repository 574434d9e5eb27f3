"""Pad on the stored integers.

ONNX Runtime keeps `DequantizeLinear -> Pad -> QuantizeLinear` in float. With one scale s and zero
point z on both sides, quantization is an injective map of the stored integers, so padding with the
real value v before it equals padding with the integer q(v) = saturate(rint(v / s) + z) after it:

    Q(Pad(DQ(x), v)) = Pad(x, q(v))

Cases left alone: scales that differ; a pad value that is not a constant; a Pad whose input or
output is used elsewhere in float; integers other than int8 and uint8.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.graph import (
    TensorQuantization,
    add_initializer,
    attribute,
    constant,
    consumers,
    quantization_of,
)
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE

_INTEGERS = (ir.DataType.INT8, ir.DataType.UINT8)


def pad_in_integers(model: ir.Model) -> bool:
    """Rewrite every Pad that the algebra above allows; gives whether the model changed."""
    changed = False
    for node in list(model.graph):
        if node.op_type == "Pad" and _rewrite(model.graph, node):
            changed = True
    return changed


def _rewrite(graph: ir.Graph, pad: ir.Node) -> bool:
    source, users = pad.inputs[0], consumers(pad.outputs[0])
    dequantize = None if source is None else source.producer()
    if dequantize is None or dequantize.op_type != DEQUANTIZE or pad.outputs[0].is_graph_output():
        return False
    if len(users) != 1 or users[0].op_type != QUANTIZE:
        return False
    quantize = users[0]
    outer, inner = quantization_of(dequantize), quantization_of(quantize)
    stored = dequantize.inputs[0]
    fill = _fill(pad, outer)
    if quantize.outputs[0].is_graph_output():
        return False
    if stored is None or stored.dtype not in _INTEGERS or not outer.per_tensor:
        return False
    if not outer.same_as(inner) or fill is None:
        return False
    _replace(graph, pad, stored, quantize, fill)
    unread = dequantize.outputs[0]
    if not unread.uses() and not unread.is_graph_output():
        graph.remove(dequantize, safe=True)
    return True


def _fill(pad: ir.Node, quantization: TensorQuantization) -> npt.NDArray[np.generic] | None:
    """The integer that stands for the pad value; None when that value is not a constant."""
    given = pad.inputs[2] if len(pad.inputs) > 2 else None
    value = np.float32(0)
    if given is not None and attribute(pad, "mode", "constant") == "constant":
        known = constant(given)
        if known is None:
            return None
        value = np.float32(known.reshape(-1)[0])
    dtype = quantization.zero_point.dtype
    limits = np.iinfo(dtype)
    integer = np.rint(value / quantization.scale) + quantization.zero_point.astype(np.float32)
    return np.asarray(np.clip(integer, limits.min, limits.max)).astype(dtype).reshape(())


def _replace(
    graph: ir.Graph,
    pad: ir.Node,
    stored: ir.Value,
    quantize: ir.Node,
    fill: npt.NDArray[np.generic],
) -> None:
    output = quantize.outputs[0]
    value = add_initializer(graph, f"{pad.outputs[0].name}_fill", fill)
    axes = [pad.inputs[3]] if len(pad.inputs) > 3 else []
    integer = ir.Node(
        "",
        "Pad",
        [stored, pad.inputs[1], value, *axes],
        attributes=list(pad.attributes.values()),
        name=pad.name,
        num_outputs=1,
    )
    result = integer.outputs[0]
    result.name, result.shape, result.type = output.name, output.shape, output.type
    graph.insert_before(pad, integer)
    ir.convenience.replace_all_uses_with(output, result)
    graph.remove([quantize, pad], safe=True)
