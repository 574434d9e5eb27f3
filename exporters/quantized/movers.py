"""Operators on integers that give back elements of their input: the same operator on floats.

Their output has the parameters of their input. Constants beside the data (padding, bounds) are
dequantized; ArgMax and TopK give the same places, because dequantization keeps the order.
"""

from __future__ import annotations

import onnx_ir as ir

from edgewise.exporters.quantized.lifting import Held, Lifted, unsupported
from edgewise.exporters.quantized.operands import (
    data_slots,
    is_mover,
    is_quantized_input,
    parameters_ahead,
)
from edgewise.graph import TensorQuantization, constant

#: give every element once: parameters of one side are those of the other
_BIJECTIVE = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_EIGHT_OR_SIXTEEN = (
    ir.DataType.INT8,
    ir.DataType.UINT8,
    ir.DataType.INT16,
    ir.DataType.UINT16,
)


def moves_integers(lifted: Lifted, node: ir.Node) -> bool:
    """Whether the node moves integers that stand for floats."""
    if not is_mover(node):
        return False
    data = [node.inputs[slot] for slot in data_slots(node)]
    if any(value in lifted.held for value in data if value is not None):
        return True
    first = data[0] if data else None
    if first is None or first.dtype not in _EIGHT_OR_SIXTEEN:
        return False
    known = constant(first) is not None or is_quantized_input(first)
    return known and parameters_ahead(node.outputs[0]) is not None


def lift_mover(lifted: Lifted, node: ir.Node) -> None:
    """Raises ModelError for inputs with different parameters."""
    parameters = _parameters(lifted, node)
    slots = data_slots(node)
    inputs = list(node.inputs)
    for slot in slots:
        value = inputs[slot]
        if value is None:
            continue
        if parameters is None:
            inputs[slot] = lifted.held[value].real if value in lifted.held else value
        else:
            inputs[slot] = lifted.real(value, parameters)
    integer = [out.dtype in (None, *_EIGHT_OR_SIXTEEN) for out in node.outputs]
    old = list(node.outputs)
    dtypes = [out.dtype for out in old]
    made = lifted.stand_in(node, node.op_type, inputs)
    if node.op_type in ("ArgMax", "ArgMin"):
        integer = [False]
    for value, real, holds, dtype in zip(old, made, integer, dtypes, strict=True):
        if holds:
            lifted.hold(value, real, parameters)
        else:
            real.type = None if dtype is None else ir.TensorType(dtype)
            lifted.substitute(value, real)


def _parameters(lifted: Lifted, node: ir.Node) -> TensorQuantization | None:
    held: list[Held] = []
    for slot in data_slots(node):
        value = node.inputs[slot]
        if value is not None and value in lifted.held:
            held.append(lifted.held[value])
    if not held:
        return parameters_ahead(node.outputs[0])
    first = held[0].parameters
    for other in held[1:]:
        same = other.parameters is first or (
            first is not None and other.parameters is not None and first.same_as(other.parameters)
        )
        if not same:
            raise unsupported(node, "it mixes integers of different scales")
    if first is not None and first.scale.ndim:
        raise unsupported(node, "its integers have a scale per channel")
    return first


def spread_through_movers(lifted: Lifted) -> None:
    """Give both sides of an operator that gives every element once the same parameters, where the
    tensor before it has no other reader: passes may remove either side."""
    nodes = [n for n in lifted.graph if n.op_type in _BIJECTIVE and n.domain in ("", "ai.onnx")]
    for node in nodes:
        source, output = node.inputs[0], node.outputs[0]
        known = lifted.known.get(source) if source is not None else None
        if known is not None and known.per_tensor and constant(source) is None:
            lifted.known.setdefault(output, known)
    for node in reversed(nodes):
        source, output = node.inputs[0], node.outputs[0]
        known = lifted.known.get(output)
        if source is None or known is None or not known.per_tensor:
            continue
        if len(source.uses()) == 1 and not source.is_graph_output() and constant(source) is None:
            lifted.known.setdefault(source, known)
