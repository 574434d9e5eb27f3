"""What is computed twice is computed once: nodes of one operator, with the same attributes, that
read the same values, or equal constants of few elements.

Left alone are nodes with graphs inside, and those that draw random numbers. Of two nodes the first
one stays. Where the second one gives an output of the graph, the first one takes over its name.
"""

from __future__ import annotations

from collections.abc import Hashable

import onnx_ir as ir

from edgewise.exporters.passes.base import Declined, PassOutcome, bypass
from edgewise.graph import constant, node_label

_RANDOM = frozenset({
    "Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
})  # fmt: skip
_FEW = 16
_LISTS = (ir.AttributeType.FLOATS, ir.AttributeType.INTS, ir.AttributeType.STRINGS)
_PLAIN = (ir.AttributeType.FLOAT, ir.AttributeType.INT, ir.AttributeType.STRING)


def share_subexpressions(model: ir.Model) -> PassOutcome:
    """Walk in order, so that what reads two equal values finds one."""
    modified, declined = False, []
    seen: dict[Hashable, ir.Node] = {}
    for node in list(model.graph):
        key = _key(node)
        first = node if key is None else seen.setdefault(key, node)
        if first is node:
            continue
        if any(value.is_graph_output() for value in node.outputs):
            shared = len(node.outputs) == 1 and bypass(model.graph, node, first.outputs[0])
            if not shared:
                reason = f"it and '{node_label(first)}' are outputs of the graph"
                declined.append(Declined(node_label(node), reason))
                continue
        else:
            ir.convenience.replace_all_uses_with(node.outputs, first.outputs)
            model.graph.remove(node, safe=True)
        modified = True
    return PassOutcome(model, modified, tuple(declined))


def _key(node: ir.Node) -> Hashable | None:
    """Equal for nodes that compute the same; None where that cannot be said."""
    if node.op_type in _RANDOM:
        return None
    attributes: list[tuple[str, Hashable]] = []
    for name, attribute in sorted(node.attributes.items()):
        if attribute.type in _LISTS:
            attributes.append((name, tuple(attribute.value)))
        elif attribute.type in _PLAIN:
            attributes.append((name, attribute.value))
        else:
            return None
    operands = tuple(_operand(value) for value in node.inputs)
    return node.op_identifier(), len(node.outputs), operands, tuple(attributes)


def _operand(value: ir.Value | None) -> Hashable:
    """The value itself, or what is in a small constant."""
    if value is None or value.const_value is None or value.const_value.size > _FEW:
        return value
    array = constant(value)
    if array is None or array.dtype == object:
        return value
    return array.dtype.str, array.shape, array.tobytes()
