"""HardSigmoid and HardSwish, as MobileNetV3 spells them out (Howard et al. 2019, arXiv:1905.02244).

    HardSigmoid(x) = max(0, min(1, x / 6 + 1/2)) = clip(x + 3, 0, 6) / 6
    HardSwish(x)   = x HardSigmoid(x)

Cases, where `/ 6` may also be a product with 1/6, and operands of sums and products may be swapped:

1. clip(x + 3, 0, 6) / 6, or clip(x / 6 + 1/2, 0, 1)
                                       -> HardSigmoid(x, alpha = 1/6, beta = 1/2)
2. x * HardSigmoid(x, 1/6, 1/2)        -> HardSwish(x)
3. (x * clip(x + 3, 0, 6)) / 6, or (x / 6) * clip(x + 3, 0, 6)
                                       -> HardSwish(x)

Case 1 runs first, so that case 2 also finds x * (clip(x + 3, 0, 6) / 6).
"""

from __future__ import annotations

import math

import onnx_ir as ir

from edgewise.exporters.passes.base import (
    Declined,
    PassOutcome,
    is_op,
    make_node,
    operand_and_scalar,
    producer,
    replace,
    same_shape,
    scalar,
    sole_consumer,
)
from edgewise.graph import attribute, node_label

_ALPHA, _BETA = 1.0 / 6.0, 0.5


def fuse_hard_activations(model: ir.Model) -> PassOutcome:
    """Fuse where no intermediate result is read elsewhere."""
    modified, declined = False, []
    for fuse in _CASES:
        for node in list(model.graph):
            fused = fuse(node)
            if isinstance(fused, str):
                declined.append(Declined(node_label(node), fused))
            elif fused is not None:
                replace(model.graph, node, [fused])
                modified = True
    return PassOutcome(model, modified, tuple(declined))


def _hard_sigmoid(node: ir.Node) -> ir.Node | str | None:
    if is_op(node, "Clip"):
        return _hard_sigmoid_of_unit_clip(node)
    clipped = _sixth_of(node)
    x = _clipped_plus_three(clipped)
    if clipped is None or x is None:
        return None
    if sole_consumer(clipped) is None:
        return f"'{clipped.name}' is used elsewhere too"
    parameters = [ir.AttrFloat32("alpha", _ALPHA), ir.AttrFloat32("beta", _BETA)]
    return make_node("HardSigmoid", [x], name=node.name, attributes=parameters)


def _hard_sigmoid_of_unit_clip(node: ir.Node) -> ir.Node | None:
    """clip(x / 6 + 1/2, 0, 1)"""
    if len(node.inputs) < 3 or scalar(node.inputs[1]) != 0.0 or scalar(node.inputs[2]) != 1.0:
        return None
    add = producer(node.inputs[0], "Add")
    pair = None if add is None else operand_and_scalar(add)
    scaled = pair[0].producer() if pair is not None and pair[1] == _BETA else None
    x = None if scaled is None else _sixth_of(scaled)
    if x is None:
        return None
    parameters = [ir.AttrFloat32("alpha", _ALPHA), ir.AttrFloat32("beta", _BETA)]
    return make_node("HardSigmoid", [x], name=node.name, attributes=parameters)


def _hard_swish_of_sigmoid(node: ir.Node) -> ir.Node | str | None:
    if not is_op(node, "Mul"):
        return None
    for x, gate in (node.inputs, node.inputs[::-1]):
        sigmoid = producer(gate, "HardSigmoid")
        if sigmoid is None or gate is None or sigmoid.inputs[0] is not x or x is None:
            continue
        if not math.isclose(attribute(sigmoid, "alpha", 0.2), _ALPHA, rel_tol=1e-4):
            continue
        if not math.isclose(attribute(sigmoid, "beta", 0.5), _BETA, rel_tol=1e-4):
            continue
        if sole_consumer(gate) is None:
            return f"'{gate.name}' is used elsewhere too"
        return make_node("HardSwish", [x], name=node.name)
    return None


def _hard_swish_of_sixth(node: ir.Node) -> ir.Node | str | None:
    product = _sixth_of(node)
    multiply = producer(product, "Mul")
    if product is None or multiply is None:
        return None
    for x, clipped in (multiply.inputs, multiply.inputs[::-1]):
        if clipped is None or x is None or _clipped_plus_three(clipped) is not x:
            continue
        if sole_consumer(product) is None or sole_consumer(clipped) is None:
            return f"'{product.name}' or '{clipped.name}' is used elsewhere too"
        return make_node("HardSwish", [x], name=node.name)
    return None


def _hard_swish_of_parts(node: ir.Node) -> ir.Node | str | None:
    """(x / 6) * clip(x + 3, 0, 6)"""
    if not is_op(node, "Mul"):
        return None
    for part, clipped in (node.inputs, node.inputs[::-1]):
        scaled = None if part is None else part.producer()
        x = None if scaled is None else _sixth_of(scaled)
        if x is None or clipped is None or _clipped_plus_three(clipped) is not x:
            continue
        if sole_consumer(clipped) is None:
            return f"'{clipped.name}' is used elsewhere too"
        return make_node("HardSwish", [x], name=node.name)
    return None


def _sixth_of(node: ir.Node) -> ir.Value | None:
    """`v` where the node computes v / 6 or v * (1/6)."""
    if is_op(node, "Div"):
        value, divisor = node.inputs[0], scalar(node.inputs[1])
        fits = value is not None and divisor == 6.0 and same_shape(value, node.outputs[0])
        return value if fits else None
    pair = operand_and_scalar(node) if is_op(node, "Mul") else None
    return pair[0] if pair is not None and math.isclose(pair[1], _ALPHA, rel_tol=1e-4) else None


def _clipped_plus_three(value: ir.Value | None) -> ir.Value | None:
    """`x` where the value is clip(x + 3, 0, 6)."""
    clip = producer(value, "Clip")
    if clip is None or len(clip.inputs) < 3:
        return None
    if scalar(clip.inputs[1]) != 0.0 or scalar(clip.inputs[2]) != 6.0:
        return None
    add = producer(clip.inputs[0], "Add")
    pair = None if add is None else operand_and_scalar(add)
    return pair[0] if pair is not None and pair[1] == 3.0 else None


_CASES = (_hard_sigmoid, _hard_swish_of_sigmoid, _hard_swish_of_sixth, _hard_swish_of_parts)
