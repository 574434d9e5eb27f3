"""Attention, RotaryEmbedding and Einsum become the products and sums that they stand for.

Only operators that stand in the graph can be quantized, and no integer kernel computes these whole.
The algebra is in `edgewise.graph.expand` (`attention`, `rotary_embedding`, `einsum`).
"""

from __future__ import annotations

import onnx_ir as ir

from edgewise.exporters.passes.base import Declined, PassOutcome, is_op
from edgewise.graph import node_label
from edgewise.graph.expand import expand

_OPERATORS = ("Attention", "Einsum", "RotaryEmbedding")


def expand_attention(model: ir.Model) -> PassOutcome:
    """Write them out where their shapes are known well enough."""

    def wanted(node: ir.Node) -> bool:
        return node.graph is model.graph and is_op(node, *_OPERATORS)

    before = sum(wanted(node) for node in model.graph)
    if not before:
        return PassOutcome(model, False)
    reasons = expand(model, wanted, by_body=False)
    declined = tuple(Declined(node_label(node), reason.why) for node, reason in reasons.items())
    return PassOutcome(model, len(reasons) < before, declined)
