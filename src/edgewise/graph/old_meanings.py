"""Operators of old opsets that onnx's version converter (1.23) gives another meaning.

1. Resize and Upsample, up to opset 10, divided the coordinate by the scale (`asymmetric`); since 11
   the default is half-pixel coordinates. Between two pixels the nearest one was that below
   (`floor`); where all scales shrink, ONNX Runtime takes the one above (`ceil`);
2. Hardmax, up to opset 12, took all axes from `axis` (1 without it) as one; since 13 it takes that
   axis alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.graph.read import attribute, constant

LAST_OLD_RESIZE, LAST_OLD_HARDMAX = 10, 12


def set_old_coordinates(model: ir.Model) -> None:
    """Case 1, in place, after the upgrade: every Resize in the model was an old one."""
    for node in model.graph.all_nodes():
        if node.op_type != "Resize" or node.domain != "":
            continue
        node.attributes["coordinate_transformation_mode"] = ir.AttrString(
            "coordinate_transformation_mode", "asymmetric"
        )
        if attribute(node, "mode", "nearest") == "nearest":
            mode = "ceil" if _shrinks(node) else "floor"
            node.attributes["nearest_mode"] = ir.AttrString("nearest_mode", mode)


def _shrinks(node: ir.Node) -> bool:
    scales = _scales(node.inputs[2]) if len(node.inputs) > 2 else None
    return scales is not None and bool((scales <= 1).all() and (scales < 1).any())


def _scales(value: ir.Value | None) -> npt.NDArray[Any] | None:
    maker = None if value is None else value.producer()
    if maker is not None and maker.op_type == "Constant":
        tensor = attribute(maker, "value")
        return None if tensor is None else np.asarray(tensor.numpy())
    return constant(value)


def flatten_for_hardmax(model: ir.Model) -> None:
    """Case 2, in place, before the upgrade: Reshape(Hardmax(Flatten(x)), Shape(x))."""
    for node in list(model.graph.all_nodes()):
        x, graph = node.inputs[0] if node.inputs else None, node.graph
        if node.op_type != "Hardmax" or node.domain != "" or x is None or graph is None:
            continue
        axis = attribute(node, "axis", 1)
        if x.shape is not None and axis in (-1, len(x.shape) - 1):
            continue
        shape = ir.node("Shape", [x])
        flat = ir.node("Flatten", [x], attributes={"axis": axis})
        best = ir.node("Hardmax", flat.outputs, attributes={"axis": 1})
        whole = ir.node("Reshape", [best.outputs[0], shape.outputs[0]], name=node.name)
        new = [shape, flat, best, whole]
        ir.convenience.replace_nodes_and_values(
            graph, node, [node], new, node.outputs, whole.outputs
        )
