"""Every value that an ONNX model computes on its way, in ONNX Runtime, with nothing fused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as ir

from edgewise.exporters.opened import Array, LayerRunner
from edgewise.graph import OrtSession

#: values fetched in one run: all of a large model would not fit into memory at once
_AT_ONCE = 128


def open_onnx_layers(model: ir.Model) -> LayerRunner:
    """Runs the model value by value: names of values, in the order of the nodes that make them.

    Values inside of subgraphs and functions are not among them, nor values that are no tensors.
    """
    proto = ir.to_proto(model)
    outputs = {value.name for value in proto.graph.output}
    names = [name for node in proto.graph.node for name in node.output if name]
    for name in names:
        if name not in outputs:
            proto.graph.output.add(name=name)  # ONNX Runtime infers the type
    session = OrtSession(proto.SerializeToString())

    def run(feeds: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
        for start in range(0, len(names), _AT_ONCE):
            yield from session.run(feeds, names[start : start + _AT_ONCE]).items()

    return run
