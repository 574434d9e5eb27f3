"""Nodes that draw random numbers: no two runs of such a model agree, nor do two runtimes, whatever
the seed. ONNX Runtime starts each session with the same numbers, so a comparison with an ONNX
source would find the two equal."""

from __future__ import annotations

import onnx_ir as ir

from edgewise.graph import constant, node_label

_DRAWING = frozenset({
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
})  # fmt: skip
_TRAINING = 2


def drawing_node(model: ir.Model) -> str:
    """The first node of a prepared model that draws random numbers; empty where there is none."""
    found = (node for node in model.graph.all_nodes() if node.domain == "" and _draws(node))
    node = next(found, None)
    return "" if node is None else f"node '{node_label(node)}' ({node.op_type})"


def _draws(node: ir.Node) -> bool:
    if node.op_type != "Dropout" or len(node.inputs) <= _TRAINING:
        return node.op_type in _DRAWING
    mode = node.inputs[_TRAINING]
    known = None if mode is None else constant(mode)
    return mode is not None and (known is None or bool(known.any()))
