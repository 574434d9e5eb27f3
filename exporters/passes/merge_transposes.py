"""Two Transpose nodes in a row are one, or none.

Axis i of Transpose(x, p) is axis p[i] of x, so

    Transpose(Transpose(x, p), q) = Transpose(x, r)  with  r[i] = p[q[i]]

and the pair vanishes where r[i] = i. The inner node may have other readers: it stays for them, and
nothing is computed twice.
"""

from __future__ import annotations

import onnx_ir as ir

from edgewise.exporters.passes.base import PassOutcome, bypass, is_op, make_node, producer, replace
from edgewise.graph import attribute


def merge_transposes(model: ir.Model) -> PassOutcome:
    """Merge from the front, so that a chain of any length ends as one node or none."""
    modified = False
    for node in list(model.graph):
        inner = producer(node.inputs[0], "Transpose") if is_op(node, "Transpose") else None
        source = None if inner is None else inner.inputs[0]
        if inner is None or source is None:
            continue
        first, second = permutation(inner), permutation(node)
        if first is None or second is None:
            continue
        merged = [first[axis] for axis in second]
        if merged == sorted(merged) and bypass(model.graph, node, source):
            modified = True
            continue
        new = make_node(
            "Transpose", [source], name=node.name, attributes=[ir.AttrInt64s("perm", merged)]
        )
        replace(model.graph, node, [new])
        modified = True
    return PassOutcome(model, modified)


def permutation(node: ir.Node) -> list[int] | None:
    """The order of axes; reversed by default, which needs the rank."""
    perm = attribute(node, "perm")
    if perm is not None:
        return [int(axis) for axis in perm]
    data = node.inputs[0]
    return None if data is None or data.shape is None else list(range(len(data.shape)))[::-1]
