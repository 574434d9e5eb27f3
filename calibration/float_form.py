"""Float rewrites that give every quantized operator the operands its integer form needs.

Each keeps what the model computes:
1. Gemm: alpha * A @ B + beta * C = A @ (alpha B) + (beta C), since a kernel has one scale product.
2. A bias becomes a vector of one value per output channel; where the scheme demands a bias and
   there is none, zeros.
3. A constant that plays two parts is copied, since each part has its own integers: a weight may be
   shared by operators that quantize it alike, any other constant belongs to one operator.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.operands import BIASED_OPS, channel_axis, is_float, output_channels, role
from edgewise.calibration.placement import Placement
from edgewise.calibration.scheme import NumberFormat, Scheme
from edgewise.graph import add_initializer, attribute, constant


def name_nodes(model: ir.Model) -> None:
    """Give every node a unique name, since plans refer to nodes by name."""
    taken: set[str] = set()
    for index, node in enumerate(model.graph.all_nodes()):
        base = node.name or f"{node.op_type}_{index}"
        name, number = base, 1
        while name in taken:
            name, number = f"{base}_{number}", number + 1
        node.name = name
        taken.add(name)


def to_float_form(model: ir.Model, placement: Placement, scheme: Scheme) -> None:
    """Apply the rewrites 3, 1 and 2 to `model` in place, for the nodes of `placement`."""
    if scheme.weight is None:
        raise ValueError("the scheme has no weight format")
    _own_constants(model, placement, scheme.weight)
    for node in model.graph:
        if node in placement and node.op_type in BIASED_OPS:
            if node.op_type == "Gemm":
                _fold_gemm_factors(node)
            _vector_bias(model.graph, node, scheme.bias_required)


def _own_constants(model: ir.Model, placement: Placement, weight: NumberFormat) -> None:
    owners: dict[str, dict[Hashable, ir.Value]] = {}
    for node in model.graph.all_nodes():
        for index, value in enumerate(node.inputs):
            if value is None or constant(value) is None or not is_float(value):
                continue
            copies = owners.setdefault(value.name or "", {})
            part = _part(node, index, value, placement, weight)
            if part not in copies:
                copies[part] = value if not copies else _copy(model.graph, value, node)
            if copies[part] is not value:
                node.replace_input_with(index, copies[part])


def _part(
    node: ir.Node, index: int, value: ir.Value, placement: Placement, weight: NumberFormat
) -> Hashable:
    """Equal for uses that can share one set of integers."""
    if node not in placement:
        return "float"
    kind = role(node, index)
    if kind == "weight" and attribute(node, "alpha", 1.0) == 1.0:
        return kind, channel_axis(node, value, weight)
    return "float" if kind == "other" else (kind, node.name, index)


def _copy(graph: ir.Graph, value: ir.Value, node: ir.Node) -> ir.Value:
    array = constant(value)
    if array is None:
        raise ValueError(f"'{value.name}' is not constant")
    return add_initializer(graph, f"{value.name}_{node.name}", array)


def _replace_constant(graph: ir.Graph, node: ir.Node, index: int, array: npt.NDArray[Any]) -> None:
    """Rewrite a constant that only this input uses, under its own name where it is one."""
    value = node.inputs[index]
    if value is None:
        raise ValueError(f"input {index} of '{node.name}' is absent")
    if len(value.uses()) == 1 and not value.is_graph_output():
        value.const_value = ir.tensor(np.ascontiguousarray(array), name=value.name)
        value.shape = ir.Shape(array.shape)
    else:
        copy = add_initializer(graph, f"{value.name}_{node.name}", array)
        node.replace_input_with(index, copy)


def _fold_gemm_factors(node: ir.Node) -> None:
    for index, factor in ((1, "alpha"), (2, "beta")):
        scale = float(attribute(node, factor, 1.0))
        node.attributes.pop(factor, None)
        array = constant(node.inputs[index]) if index < len(node.inputs) else None
        if array is not None and scale != 1.0 and node.graph is not None:
            graph = node.graph
            if not isinstance(graph, ir.Graph):
                raise ValueError("only nodes of the main graph are quantized")
            _replace_constant(graph, node, index, array * np.float32(scale))


def _vector_bias(graph: ir.Graph, node: ir.Node, required: bool) -> None:
    channels = output_channels(node)
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if bias is None:
        node.resize_inputs(3 if required else 2)
        if required:
            zeros = np.zeros(channels, np.float32)
            node.replace_input_with(2, add_initializer(graph, f"{node.name}_bias", zeros))
    elif bias.shape != (channels,):
        full = np.broadcast_to(bias.reshape(-1), (channels,))
        _replace_constant(graph, node, 2, full)
