"""Operators that ONNX Runtime's CPU provider lacks, or computes otherwise than ONNX says.

Found by the ONNX project's own node tests with onnxruntime 1.32. Written in other operators:

| Operator | Where | Because |
|---|---|---|
| Attention | its scores are an output, or keys have lengths | masked scores are finite; refused |
| ConvInteger | padded | refused when it runs |
| MaxUnpool | the size of its output is given | the indices are those of another size |
| OptionalGetElement, OptionalHasElement, RoiAlign, SwiGLU, Swish | opset 21 and later | no kernel |

Refused: Resize with align_corners by scales that give no whole number of pixels, which ONNX
computes with, and ONNX Runtime with the number of pixels that there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from edgewise.errors import UnsupportedOperator
from edgewise.graph import attribute, constant, node_label
from edgewise.graph.expand import expand
from edgewise.graph.swish import spell_out_silu
from edgewise.targets.arm.schemes import TARGET_NAME

_WHOLE = 1e-3


def _is_given(node: ir.Node, index: int) -> bool:
    return index < len(node.inputs) and node.inputs[index] is not None


def _attention(node: ir.Node) -> bool:
    scores = node.outputs[3] if len(node.outputs) > 3 else None
    read = scores is not None and (scores.is_graph_output() or bool(scores.uses()))
    return read or _is_given(node, 6)


def _always(node: ir.Node) -> bool:
    return True


#: operator -> whether a node of it needs another way
_DETOURS: Mapping[str, Callable[[ir.Node], bool]] = {
    "Attention": _attention,
    "ConvInteger": lambda node: any(attribute(node, "pads", ())),
    "MaxUnpool": lambda node: _is_given(node, 2),
    "OptionalGetElement": _always,
    "OptionalHasElement": _always,
    "RoiAlign": _always,
    "SwiGLU": _always,
    "Swish": _always,
}


def take_detours(model: ir.Model) -> None:
    """Write the nodes of the table in other operators, in place.

    Raises UnsupportedOperator where that cannot be, and for what ONNX Runtime computes otherwise.
    """
    spell_out_silu(model)
    if any(_needs_detour(node) for node in model.graph.all_nodes()):
        for node, reason in expand(model, _needs_detour).items():
            raise UnsupportedOperator(
                node_label(node),
                node.op_type,
                target=TARGET_NAME,
                why=reason.why,
                remedy=reason.remedy,
            )
    for node in model.graph.all_nodes():
        if node.op_type == "Resize" and _is_between_pixels(node):
            raise UnsupportedOperator(
                node_label(node),
                "Resize",
                target=TARGET_NAME,
                why="ONNX Runtime rounds its output to whole pixels before it aligns the corners",
                remedy="Give sizes instead of scales.",
            )


def _needs_detour(node: ir.Node) -> bool:
    return node.domain in ("", "ai.onnx") and _DETOURS.get(node.op_type, _never)(node)


def _never(node: ir.Node) -> bool:
    return False


def _is_between_pixels(node: ir.Node) -> bool:
    mode = attribute(node, "coordinate_transformation_mode", "half_pixel")
    scales = constant(node.inputs[2]) if _is_given(node, 2) else None
    source = node.inputs[0]
    if mode != "align_corners" or attribute(node, "mode", "nearest") == "nearest":
        return False
    if scales is None or not scales.size or source is None or source.shape is None:
        return False
    axes = attribute(node, "axes", None) or range(len(source.shape))
    sizes = [source.shape[axis] for axis in axes]
    if not all(isinstance(size, int) for size in sizes):
        return False
    pixels = np.array(sizes, np.float64) * scales.astype(np.float64)
    return bool((np.abs(pixels - np.rint(pixels)) > _WHOLE).any())
