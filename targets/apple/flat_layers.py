"""Products of more than three axes with a constant matrix, brought to the two axes of `linear`.

MIL's `linear` takes at most three axes. With Q and DQ per tensor, reshaping commutes with both, so
the reshapes stand outside the pairs and the layer keeps the form of Apple's quantizers:

    x -> Q -> DQ -> [n, h, w, c] @ W [-> activation] -> Q -> DQ
    x -> reshape -> Q -> DQ -> [n*h*w, c] @ W [-> activation] -> Q -> DQ -> reshape

where `activation` works element by element. A product in float is left to its lowering, which puts
the reshapes next to it.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as ir

from edgewise.graph import add_initializer, consumers, node_label, quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.targets.apple.whole_layers import is_fixed, sizes

LINEAR_MAX_RANK = 3
#: key of a value's properties: the tensor of the QDQ model that has the same elements
ELEMENTS_OF = "edgewise.elements_of"
_ELEMENTWISE = frozenset(
    {
        "Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Relu",
        "Selu", "Sigmoid", "Swish", "Tanh",
    }
)  # fmt: skip


def flatten_layers(model: ir.Model) -> None:
    """Rewrite the model in place."""
    for node in list(model.graph):
        if node.op_type not in ("MatMul", "Gemm") or not is_fixed(node.inputs[1]):
            continue
        x, weight = node.inputs[0], sizes(node.inputs[1])
        shape, wide = sizes(x), sizes(node.outputs[0])
        if x is None or shape is None or wide is None or len(shape) <= LINEAR_MAX_RANK:
            continue
        if weight is None or len(weight) != 2:
            continue
        tail = _tail(node)
        if tail is not None and _flatten_input(model.graph, node, shape):
            _spread_output(model.graph, node, wide, tail)


def _pair_before(x: ir.Value | None) -> tuple[ir.Node, ir.Node] | None:
    """The QuantizeLinear and DequantizeLinear that give `x`, per tensor."""
    dequantize = None if x is None else x.producer()
    stored = None if dequantize is None else dequantize.inputs[0]
    quantize = None if stored is None else stored.producer()
    if dequantize is None or quantize is None:
        return None
    if dequantize.op_type != DEQUANTIZE or quantize.op_type != QUANTIZE:
        return None
    pair = quantize, dequantize
    return pair if all(quantization_of(node).per_tensor for node in pair) else None


def _tail(node: ir.Node) -> list[ir.Node] | None:
    """The activation, if there is one, then Q and DQ, each the sole reader of the one before."""
    tail: list[ir.Node] = []
    value = node.outputs[0]
    for kinds in (_ELEMENTWISE, {QUANTIZE}, {DEQUANTIZE}):
        readers = consumers(value)
        if len(readers) != 1 or value.is_graph_output():
            return None
        reader = readers[0]
        if reader.op_type in kinds:
            tail.append(reader)
            value = reader.outputs[0]
        elif kinds is not _ELEMENTWISE:
            return None
    return tail if all(quantization_of(n).per_tensor for n in tail[-2:]) else None


def _flatten_input(graph: ir.Graph, layer: ir.Node, shape: tuple[int, ...]) -> bool:
    """Give the layer its input with two axes; tells whether it could be done."""
    flat_shape = (prod(shape[:-1]), shape[-1])
    x = layer.inputs[0]
    producer = None if x is None else x.producer()
    if producer is not None and producer.op_type == "Reshape":  # the spread of a layer before
        flat = producer.inputs[0]
        if sizes(flat) != flat_shape or _pair_before(flat) is None:
            return False
    else:
        pair = _pair_before(x)
        if pair is None:
            return False
        flat = _reshape(graph, layer, pair[0].inputs[0], flat_shape, "rows")
        for node in pair:
            flat = _again(graph, layer, node, flat, flat_shape)
            flat.metadata_props[ELEMENTS_OF] = node.outputs[0].name or ""
    layer.replace_input_with(0, flat)
    _remove_unused(graph, x)
    return True


def _remove_unused(graph: ir.Graph, value: ir.Value | None) -> None:
    """The node that gives the value, and those before it, as far as nothing else reads them."""
    node = None if value is None else value.producer()
    if node is None or any(out.uses() or out.is_graph_output() for out in node.outputs):
        return
    inputs = list(node.inputs)
    graph.remove(node, safe=True)
    for source in inputs:
        _remove_unused(graph, source)


def _spread_output(
    graph: ir.Graph, layer: ir.Node, wide: tuple[int, ...], tail: list[ir.Node]
) -> None:
    flat_shape = (prod(wide[:-1]), wide[-1])
    for node in (layer, *tail):
        node.outputs[0].shape = ir.Shape(flat_shape)
    last = tail[-1].outputs[0]
    readers = list(last.uses())
    outputs = [index for index, output in enumerate(graph.outputs) if output is last]
    spread = _reshape(graph, tail[-1], last, wide, "spread", behind=True)
    for use in readers:
        use.node.replace_input_with(use.idx, spread)
    for index in outputs:
        graph.outputs[index] = spread
    if outputs:
        name, spread.name = last.name, None
        last.name, spread.name = f"{name}_rows", name


def _reshape(
    graph: ir.Graph,
    at: ir.Node,
    value: ir.Value | None,
    shape: tuple[int, ...],
    what: str,
    *,
    behind: bool = False,
) -> ir.Value:
    """The value reshaped by a new node in front of `at`, or behind it."""
    target = add_initializer(graph, f"{node_label(at)}_{what}_shape", np.array(shape, np.int64))
    name = f"{node_label(at)}_{what}"
    node = ir.node("Reshape", [value, target], name=name)
    (graph.insert_after if behind else graph.insert_before)(at, node)
    return _typed(node, at.outputs[0], shape, name)


def _again(
    graph: ir.Graph, before: ir.Node, node: ir.Node, value: ir.Value, shape: tuple[int, ...]
) -> ir.Value:
    """Another Q or DQ like the node, of the reshaped value."""
    name = f"{node_label(node)}_rows_{node_label(before)}"
    copy = ir.node(
        node.op_type,
        [value, *node.inputs[1:]],
        {key: item.value for key, item in node.attributes.items()},
        name=name,
    )
    graph.insert_before(before, copy)
    return _typed(copy, node.outputs[0], shape, name)


def _typed(node: ir.Node, like: ir.Value, shape: tuple[int, ...], name: str) -> ir.Value:
    output = node.outputs[0]
    output.name, output.type, output.shape = name, like.type, ir.Shape(shape)
    return output
