"""SiLU, where it is spelled out, becomes one Swish node: see `graph.swish`.

    Mul(x, Sigmoid(x)) = Swish(x)    in any order of operands

The node takes the name of the product. A model that has one carries opset 24, the first with Swish:
after 21, opsets gave operators more types and attributes, and changed nothing that an older model
can say. A model that is newer already stays as it is: ONNX Runtime 1.32 has no kernel of Swish, and
takes its function body in opset 24 only.
"""

from __future__ import annotations

import onnx_ir as ir

from edgewise.exporters.passes.base import (
    Declined,
    PassOutcome,
    is_op,
    make_node,
    replace,
    sole_consumer,
)
from edgewise.graph import constant, consumers, node_label
from edgewise.graph.swish import SWISH_OPSET


def fuse_silu(model: ir.Model) -> PassOutcome:
    """Fuse where nothing else reads the sigmoid."""
    graph, modified, declined = model.graph, False, []
    domain = "" if "" in model.opset_imports else "ai.onnx"
    for node in list(graph):
        product = _product(node)
        if product is None or product.graph is not graph:
            continue
        reason = ""
        if sole_consumer(node.outputs[0]) is None:
            reason = f"the result of '{node_label(node)}' is used elsewhere too"
        elif model.opset_imports[domain] > SWISH_OPSET:
            reason = f"ONNX Runtime does not compute Swish in opset {model.opset_imports[domain]}"
        if reason:
            declined.append(Declined(node_label(product), reason))
            continue
        replace(graph, product, [make_node("Swish", [node.inputs[0]], name=product.name)])
        graph.remove(node, safe=True)
        modified = True
    if modified:
        model.opset_imports[domain] = SWISH_OPSET
    return PassOutcome(model, modified, tuple(declined))


def _product(node: ir.Node) -> ir.Node | None:
    """The Mul of a Sigmoid with what the Sigmoid reads."""
    if not is_op(node, "Sigmoid") or constant(node.inputs[0]) is not None:
        return None
    pair = {node.inputs[0], node.outputs[0]}
    readers = consumers(node.outputs[0])
    return next((n for n in readers if is_op(n, "Mul") and set(n.inputs) == pair), None)
