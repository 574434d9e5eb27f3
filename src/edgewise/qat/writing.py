"""The trained numbers in the target's QDQ model."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from edgewise.graph import constant, quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.qat.network import QuantizedNetwork


def trained_model(network: QuantizedNetwork) -> ir.Model:
    """The QDQ model that the network computes: the same nodes and names, with its integers, scales
    and biases."""
    template = network.template
    model = ir.from_proto(ir.to_proto(template.model))
    with torch.no_grad():
        for node in list(model.graph):
            if node.op_type == QUANTIZE:
                scale = _array(network.scale_of(template.pairs[node.outputs[0].name or ""]))
                for reader in (node, *(use.node for use in node.outputs[0].uses())):
                    _put(reader.inputs[1], scale)
            elif node.op_type == DEQUANTIZE:
                _store_constant(network, node)
        for name in template.vectors:
            _put(model.graph.initializers[name], _array(network.vector(name)))
    return model


def _store_constant(network: QuantizedNetwork, node: ir.Node) -> None:
    key, template = node.outputs[0].name or "", network.template
    if key in template.weights:
        weight, scale = network.weight_and_scale(key)
        found = quantization_of(node)
        steps = torch.round(weight.weight / weight.spread(scale))
        integers = _array(steps.clamp(-weight.limit, weight.limit)).astype(np.int32)
        zero_point = int(found.zero_point.reshape(-1)[0])
        _put(node.inputs[0], (integers + zero_point).astype(found.zero_point.dtype))
        _put(node.inputs[1], _array(scale))
    elif key in template.biases:
        bias = template.biases[key]
        step = network.scale_of(bias.group) * network.weight_and_scale(bias.weight)[1]
        largest = float(np.iinfo(np.int32).max)
        ratio = (network.bias(key) / step).double()
        _put(node.inputs[0], _array(torch.round(ratio).clamp(-largest, largest)).astype(np.int32))
        _put(node.inputs[1], _array(step))


def _array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    return np.array(tensor.detach().cpu().numpy())


def _put(value: ir.Value | None, array: npt.NDArray[Any]) -> None:
    """New content of a constant; a scale keeps its rank."""
    old = constant(value)
    if value is None or old is None:
        raise ValueError("only constants are trained")
    value.const_value = ir.tensor(array.reshape(old.shape), name=value.name)
