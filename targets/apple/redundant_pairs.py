"""Quantize-dequantize pairs that change no value, dropped from the QDQ graph.

Apple's own quantized models have none between a layer and its activation: `op -> Q1 -> DQ1 -> act
-> Q2` becomes `op -> act -> Q2` when `act` is Relu or Clip and Q1, DQ1 and Q2 have exactly the same
scale and zero point.

It changes no value. Write q and d for quantization and dequantization with those parameters; q is
monotone and q(d(k)) = k. With act(x) = min(max(x, lo), hi), Relu being lo = 0 and hi = infinity:
    q(act(x)) = min(max(q(x), q(lo)), q(hi))              since q is monotone
    q(act(d(q(x)))) = min(max(q(d(q(x))), q(lo)), q(hi))  likewise, and q(d(q(x))) = q(x).
"""

from __future__ import annotations

import onnx_ir as ir

from edgewise.graph import consumers, quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE

_MONOTONE_CUTS = ("Relu", "Clip")


def drop_redundant_pairs(model: ir.Model) -> int:
    """Rewrite the model in place; gives the number of pairs that were dropped."""
    dropped = 0
    for node in list(model.graph):
        if node.op_type in _MONOTONE_CUTS and (producer := _redundant_pair(node)) is not None:
            _bypass(model, node, producer)
            dropped += 1
    return dropped


def _redundant_pair(activation: ir.Node) -> ir.Node | None:
    """The QuantizeLinear in front of the activation when the pair is redundant."""
    dequantize = _sole_producer(activation.inputs[0], DEQUANTIZE)
    quantize = _sole_producer(dequantize.inputs[0], QUANTIZE) if dequantize is not None else None
    if dequantize is None or quantize is None:
        return None
    after = consumers(activation.outputs[0])
    if activation.outputs[0].is_graph_output() or not after:
        return None
    if any(node.op_type != QUANTIZE for node in after):
        return None
    inner = quantization_of(quantize)
    if not inner.same_as(quantization_of(dequantize)):
        return None
    return quantize if all(inner.same_as(quantization_of(node)) for node in after) else None


def _sole_producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The producer of a value that has one consumer only and is no output of the model."""
    if value is None or value.is_graph_output() or len(consumers(value)) != 1:
        return None
    producer = value.producer()
    return producer if producer is not None and producer.op_type == op_type else None


def _bypass(model: ir.Model, activation: ir.Node, quantize: ir.Node) -> None:
    dequantize_output = activation.inputs[0]
    activation.replace_input_with(0, quantize.inputs[0])
    dequantize = None if dequantize_output is None else dequantize_output.producer()
    doomed = [node for node in (dequantize, quantize) if node is not None]
    model.graph.remove(doomed, safe=True)
