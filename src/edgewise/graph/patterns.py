"""Float subgraphs that exporters spread out, and that have a better form as one operator: GELU, and
normalizations over the last axes."""

from __future__ import annotations

import onnx_ir as ir

from edgewise.graph.gelu import GeluMatch, match_gelu
from edgewise.graph.normalization import fuse_normalizations


def fuse_patterns(model: ir.Model) -> bool:
    """Rewrite the graph in place; tells whether it changed."""
    changed = fuse_normalizations(model, centred_only=False)
    for node in list(model.graph):
        match = match_gelu(node)
        if match is not None:
            changed = _fuse(model.graph, match, node.name) or changed
    return changed


def _fuse(graph: ir.Graph, match: GeluMatch, name: str | None) -> bool:
    product = match.product
    producer = product.producer()
    if producer is None:
        return False
    gelu = ir.node("Gelu", [match.x], name=name, attributes={"approximate": match.approximate})
    output = gelu.outputs[0]
    output.shape, output.type, output.name = product.shape, product.type, product.name
    graph.insert_before(producer, gelu)
    product.replace_all_uses_with(output, replace_graph_outputs=True)
    _remove_unused(graph, producer)
    return True


def _remove_unused(graph: ir.Graph, node: ir.Node) -> None:
    """Remove the node, then those before it that nothing reads any more."""
    if any(output.uses() or output.is_graph_output() for output in node.outputs):
        return
    sources = [value.producer() for value in node.inputs if value is not None]
    graph.remove(node, safe=True)
    for source in dict.fromkeys(s for s in sources if s is not None):
        if source.graph is graph:
            _remove_unused(graph, source)
