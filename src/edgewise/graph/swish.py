"""SiLU (Elfwing et al. 2017, arXiv:1702.03118; Swish of slope 1), as one node and as two.

    Swish(x) = x Sigmoid(x)

ONNX has Swish from opset 24 on, with a function body that ONNX Runtime computes it by. The hub
model holds SiLU as this node. What quantizes or runs it in two steps spells it out again:

1. `Sigmoid` is named after the node, `Mul` has its name, and the result keeps its name.
2. Without Swish nothing may be left that needs the newer opset. The older one is taken where the
   checker and inference find every node valid in it: devices have older runtimes.

Slopes other than 1 (QuickGELU has 1.702) are left alone.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

from edgewise.graph.prepare import HUB_OPSET
from edgewise.graph.read import attribute
from edgewise.graph.weightless import call_without_weights
from edgewise.graph.write import names_of_values

SWISH_OPSET = 24
_STANDARD = ("", "ai.onnx")


def is_silu(node: ir.Node) -> bool:
    """Whether the node is a Swish of slope 1."""
    return (
        node.op_type == "Swish"
        and node.domain in _STANDARD
        and float(attribute(node, "alpha", 1.0)) == 1.0
    )


def spell_out_silu(model: ir.Model) -> dict[str, str]:
    """Write every SiLU of the main graph as two nodes, in place.

    Returns:
        By name of the node, the name of the new value between the two.
    """
    nodes = [node for node in model.graph if is_silu(node)]
    if not nodes:
        return {}
    taken = names_of_values(model.graph) | {node.name for node in model.graph}
    between = {node.name or "": _spell_out(model.graph, node, taken) for node in nodes}
    _take_older_opset(model)
    return between


def _spell_out(graph: ir.Graph, node: ir.Node, taken: set[str | None]) -> str:
    """Case 1."""
    x, old = node.inputs[0], node.outputs[0]
    stem = name = f"{old.name}_sigmoid"
    count = 2
    while name in taken:
        name, count = f"{stem}_{count}", count + 1
    taken.add(name)
    gate = ir.node("Sigmoid", [x], name=name)
    middle = gate.outputs[0]
    middle.name, middle.shape, middle.type = name, old.shape, old.type
    product = ir.node("Mul", [x, middle], name=node.name)
    new = product.outputs[0]
    new.shape, new.type = old.shape, old.type
    graph.insert_before(node, [gate, product])
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    new.name, old.name = old.name, None
    graph.remove(node, safe=True)
    return name


def _take_older_opset(model: ir.Model) -> None:
    """Case 2."""
    domain = "" if "" in model.opset_imports else "ai.onnx"
    newer = model.opset_imports[domain]
    model.opset_imports[domain] = HUB_OPSET
    try:
        call_without_weights(model, _check)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        model.opset_imports[domain] = newer


def _check(proto: onnx.ModelProto) -> None:
    onnx.checker.check_model(proto, full_check=True)
