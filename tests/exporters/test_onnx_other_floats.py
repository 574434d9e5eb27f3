"""ONNX models in half and double precision: float32 in the hub model, each beside its original."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgewise.exporters import ExportResult, export
from edgewise.graph import OrtSession

#: weights, a constant of a node, a type that a node asks for, a branch, a function
TEXT = """<ir_version: 10, opset_import: ["": 21, "local": 1]>
g (TYPE[n, 4] x, bool c) => (TYPE[n, 3] scores, int64[n] label) {
  flags = Greater (x, zero)
  ones = Cast <to = NUMBER> (flags)
  sum = Add (x, ones)
  product = MatMul (sum, w)
  third = Constant <value = float[1] {0.3333}> ()
  less = Mul (product, third)
  scores = If (c) <
    then_branch = t () => (TYPE[n, 3] u) { u = local.Shares (less) },
    else_branch = e () => (TYPE[n, 3] v) { v = Neg (less) }>
  label = ArgMax <axis = 1, keepdims = 0> (scores)
}
<domain: "local", opset_import: ["": 21]>
Shares (p) => (q) { q = Softmax <axis = 1> (p) }
"""
WEIGHTS = np.random.default_rng(0).normal(size=(4, 3))


def original(dtype: type[np.floating]) -> onnx.ModelProto:
    name = {np.float16: "float16", np.float64: "double"}[dtype]
    number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    proto = onnx.parser.parse_model(TEXT.replace("TYPE", name).replace("NUMBER", str(number)))
    third = next(node for node in proto.graph.node if node.op_type == "Constant").attribute[0].t
    third.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(third).astype(dtype)))
    for key, array in (("w", WEIGHTS), ("zero", np.zeros(()))):
        proto.graph.initializer.append(numpy_helper.from_array(array.astype(dtype), key))
    return proto


def border(result: ExportResult) -> dict[str | None, ir.DataType | None]:
    graph = result.model.graph
    return {value.name: value.dtype for value in (*graph.inputs, *graph.outputs)}


@pytest.mark.parametrize(
    ("dtype", "tolerance", "word"), [(np.float16, 4e-3, "float16"), (np.float64, 1e-6, "float64")]
)
def test_the_hub_model_is_float32(dtype: type[np.floating], tolerance: float, word: str) -> None:
    proto = original(dtype)
    result = export(proto)
    assert border(result) == {
        "x": ir.DataType.FLOAT,
        "c": ir.DataType.BOOL,
        "scores": ir.DataType.FLOAT,
        "label": ir.DataType.INT64,
    }
    kinds = {v.dtype for n in result.model.graph.all_nodes() for v in n.outputs}
    kinds |= {v.dtype for graph in result.model.graphs() for v in graph.initializers.values()}
    assert not kinds & {ir.DataType.FLOAT16, ir.DataType.DOUBLE}
    assert any(f.rule == "export/float32" and word in f.message for f in result.findings)
    assert result.parity.max_rel_error is not None and result.parity.max_rel_error <= tolerance
    source, hub = OrtSession(proto.SerializeToString()), OrtSession(result.model)
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(dtype)
    for condition in (np.array(True), np.array(False)):
        expected = source.run({"x": x, "c": condition})["scores"]
        found = hub.run({"x": x.astype(np.float32), "c": condition})["scores"]
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
