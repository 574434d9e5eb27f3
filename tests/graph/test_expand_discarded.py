"""An expansion that gives up after it has made nodes leaves no trace of them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand import CannotExpand, expand
from edgewise.graph.expand.expansion import Expansion


def test_a_declined_expansion_reads_nothing():
    x = ir.Value(name="x", shape=ir.Shape([2]), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.node("Erf", [x], name="erf")
    node.outputs[0].name = "y"
    graph = ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": 21}, name="g")

    def gives_up(e: Expansion) -> list[ir.Value]:
        e.op("Mul", e.input(0), e.constant(np.float32(2)))
        raise CannotExpand("no", "Leave it out.")

    declined = expand(ir.Model(graph, ir_version=10), lambda _: True, table={"Erf": gives_up})
    assert set(declined) == {node}
    assert [use.node for use in x.uses()] == [node]
