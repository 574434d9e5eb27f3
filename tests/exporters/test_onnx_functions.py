"""Functions that an ONNX model defines itself are written out."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest

from edgewise.errors import ModelError
from edgewise.exporters import export
from edgewise.graph import OrtSession

#: a function in a function, attributes handed on, and calls in the branches of an If
NESTED = """<ir_version: 10, opset_import: ["": 17, "local": 1]>
g (float[n, 4] x, bool c) => (float[n, 4] y) {
  a = local.Twice <rate: float = 0.25> (x)
  b = local.Block (a)
  y = If (c) <
    then_branch = t () => (float[n, 4] u) { u = local.Block (b) },
    else_branch = e () => (float[n, 4] v) { v = Neg (b) }>
}
<domain: "local", opset_import: ["": 17, "local": 1]>
Block (p) => (q) {
  h = local.Leaky (p)
  k = Constant <value_floats: floats = [1.0, 2.0, 3.0, 4.0]> ()
  q = Mul (h, k)
}
<domain: "local", opset_import: ["": 17]>
Leaky <rate: float = 0.5> (i) => (o) { o = LeakyRelu <alpha: float = @rate> (i) }
<domain: "local", opset_import: ["": 17, "local": 1]>
Twice <rate> (i) => (o) {
  z = local.Leaky <rate: float = @rate> (i)
  o = Add (z, z)
}
"""


@pytest.mark.parametrize("condition", [True, False])
def test_functions_of_functions(condition: bool) -> None:
    proto = onnx.parser.parse_model(NESTED)
    result = export(proto)
    assert not result.model.functions
    assert result.parity.max_rel_error == 0.0
    found = Counter(node.op_type for node in result.model.graph.all_nodes())
    assert found == {"LeakyRelu": 3, "Add": 1, "Mul": 2, "If": 1, "Neg": 1}
    # Twice scales -1 by 0.25 * 2, each Block by 0.5 and the factor of the column
    x = np.float32([[-1, 2, -3, 4]])
    ran = OrtSession(result.model).run({"x": x, "c": np.array(condition)})["y"]
    expected = [[-0.125, 16, -3.375, 128]] if condition else [[0.25, -8, 2.25, -32]]
    np.testing.assert_array_equal(ran, np.float32(expected))


def test_a_function_of_another_opset_whose_operators_changed() -> None:
    proto = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 21, "local": 1]>
        g (float[n, 4] x) => (float[n, 1] y) { y = local.Mean (x) }
        <domain: "local", opset_import: ["": 13]>
        Mean (p) => (q) { q = ReduceMean <axes: ints = [1]> (p) }"""
    )
    with pytest.raises(ModelError, match=r"not a valid ONNX model.*version 13.*version 21") as told:
        export(proto)
    assert "\n" not in str(told.value)
