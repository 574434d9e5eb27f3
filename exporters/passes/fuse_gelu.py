"""GELU, where it is spelled out with Erf or Tanh, becomes one Gelu node: see `graph.gelu`.

Spelled out, it would be quantized in pieces: its parts have no integer kernels, and the tensors
between them would lose bits that the whole does not.
"""

from __future__ import annotations

import onnx_ir as ir

from edgewise.exporters.passes.base import PassOutcome, make_node, replace
from edgewise.graph.gelu import match_gelu


def fuse_gelu(model: ir.Model) -> PassOutcome:
    """Fuse every match. Needs opset 20, which has Gelu."""
    modified = False
    for node in list(model.graph):
        match = match_gelu(node)
        last = None if match is None else match.product.producer()
        if match is None or last is None:
            continue
        attributes = [ir.AttrString("approximate", match.approximate)]
        fused = make_node("Gelu", [match.x], name=node.name, attributes=attributes)
        replace(model.graph, last, [fused])
        modified = True
    return PassOutcome(model, modified)
