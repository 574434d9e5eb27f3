"""Any valid model becomes the one form that the stages understand, and computes the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from edgewise import graph
from edgewise.errors import ModelError, UsageError


def parse(text: str) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(text))


OLD = """
<ir_version: 4, opset_import: ["": 9]>
g (float[N, 3, 8, 8] x) => (float[N, k] y)
<float[2, 3, 1, 1] w = {1, 2, 3, 4, 5, 6}>
{
  c = Conv(x, w)
  r = Relu(c)
  d = Dropout(r)
  i = Identity(d)
  y = Flatten(i)
}
"""


def test_old_opset_is_upgraded_and_computes_the_same() -> None:
    source = parse(OLD)
    prepared = graph.prepare(source, batch=1)
    assert prepared.opset_imports[""] == graph.HUB_OPSET
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    before = graph.OrtSession(source).run({"x": x})["y"]
    after = graph.OrtSession(prepared).run({"x": x})["y"]
    np.testing.assert_allclose(after, before, rtol=1e-6)
    assert graph.static_shape(prepared.graph.outputs[0]) == (1, 128)
    assert [v.name for v in prepared.graph.outputs] == ["y"]


def test_source_is_never_changed() -> None:
    source = parse(OLD)
    before = graph.to_bytes(source)
    graph.prepare(source, batch=1)
    assert graph.to_bytes(source) == before


def test_too_old_opset() -> None:
    with pytest.raises(ModelError, match="opset 6 is too old"):
        graph.prepare(parse(OLD.replace(": 9]", ": 6]")))


def test_shape_arithmetic_is_folded_and_functions_inlined() -> None:
    source = parse("""
    <ir_version: 8, opset_import: ["": 17, "local": 1]>
    g (float[2, 3, 4] x) => (float[2, 12] y)
    {
      s = Shape(x)
      zero = Constant<value = int64[1] {0}>()
      n = Gather(s, zero)
      minus = Constant<value = int64[1] {-1}>()
      shape = Concat<axis = 0>(n, minus)
      t = local.twice(x)
      y = Reshape(t, shape)
    }
    <domain: "local", opset_import: ["": 17]>
    twice (a) => (b) { b = Add(a, a) }
    """)
    prepared = graph.prepare(source)
    assert sorted(node.op_type for node in prepared.graph) == ["Add", "Reshape"]
    reshape = next(node for node in prepared.graph if node.op_type == "Reshape")
    np.testing.assert_array_equal(graph.constant(reshape.inputs[1]), [2, -1])
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(
        graph.OrtSession(prepared).run({"x": x})["y"], (2 * x).reshape(2, 12), rtol=1e-6
    )


def test_quantized_weights_are_not_folded_to_float() -> None:
    source = parse("""
    <ir_version: 10, opset_import: ["": 21]>
    g (float[1, 2, 4, 4] x) => (float[1, 1, 4, 4] y)
    <int8[1, 2, 1, 1] w = {1, -2}, float[1] s = {0.5}, int8[1] z = {0}>
    { f = DequantizeLinear<axis = 0>(w, s, z) y = Conv(x, f) }
    """)
    prepared = graph.prepare(source)
    assert [node.op_type for node in prepared.graph] == ["DequantizeLinear", "Conv"]


def test_unknown_input_and_wrong_rank() -> None:
    with pytest.raises(UsageError, match=r"no input 'image'.*its inputs are x"):
        graph.prepare(parse(OLD), input_shapes={"image": [1, 3, 8, 8]})
    with pytest.raises(UsageError, match="rank 4"):
        graph.prepare(parse(OLD), input_shapes={"x": [3, 8, 8]})


def test_a_size_in_the_place_of_another() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 21]>
    g (float[n, 3, 8, 8] x) => (float[n, 3, 8, 8] y) { y = Relu(x) }
    """
    wrong = r"'x' has 8 at axis 2: the given shape \[1, 3, 9, 8\] has 9, .* wants \['n', 3, 8, 8\]"
    with pytest.raises(UsageError, match=wrong):
        graph.prepare(parse(text), input_shapes={"x": [1, 3, 9, 8]})
    prepared = graph.prepare(parse(text), input_shapes={"x": [1, 3, 8, 8]})
    assert prepared.graph.inputs[0].shape == ir.Shape([1, 3, 8, 8])


def test_static_shape_says_what_to_do() -> None:
    prepared = graph.prepare(parse(OLD))
    with pytest.raises(ModelError, match=r"shape must be static.*--input-shape"):
        graph.static_shape(prepared.graph.inputs[0])


def test_names_of_nodes_survive_beside_nameless_ones() -> None:
    source = parse("""
    <ir_version: 10, opset_import: ["": 21]>
    g (float[2] x) => (float[2] y)
    { a = Relu(x) b = Neg(a) y = Abs(b) }
    """)
    list(source.graph)[2].name = "b"
    prepared = graph.prepare(source)
    assert [node.name for node in prepared.graph] == ["a", "b_2", "b"]


def test_a_folded_constant_has_its_own_shape() -> None:
    """Exporters write free sizes where a class token is expanded to the batch."""
    source = parse(
        """
        <ir_version: 10, opset_import: ["": 21]>
        g (float[2, 1, 2] x) => (float[2, k, 2] y)
        <float[1, 1, 2] token = {1, 2}, int64[3] dims = {2, 1, 2}, float[a, b, 2] e>
        {
          e = Expand(token, dims)
          y = Concat <axis = 1> (e, x)
        }
        """
    )
    prepared = graph.prepare(source)
    assert [str(value.shape) for value in prepared.graph[0].inputs if value] == ["[2,1,2]"] * 2
    assert str(prepared.graph.outputs[0].shape) == "[2,2,2]"


def test_a_count_that_only_inference_knows_is_folded() -> None:
    source = parse("""
    <ir_version: 10, opset_import: ["": 21]>
    g (float[2, 4, 6] x) => (int64 y, float[2, 4, 6] t) { t = Relu(x) y = Size(t) }
    """)
    prepared = graph.prepare(source)
    assert "Size" not in {node.op_type for node in prepared.graph}
    assert graph.OrtSession(prepared).run({"x": np.ones((2, 4, 6), np.float32)})["y"] == 48


def test_sizes_that_only_inference_knows_are_folded() -> None:
    """The scale of attention as exporters compute it, once the batch is fixed."""
    source = parse("""
    <ir_version: 8, opset_import: ["": 17]>
    g (float[N, 4, 6] x) => (float[N, 6, 4] y)
    <int64[1] first = {1}, int64[1] last = {2}>
    {
      t = Transpose <perm = [0, 2, 1]> (x)
      s = Shape(t)
      d = Slice(s, first, last)
      f = Cast <to = 1> (d)
      r = Sqrt(f)
      y = Div(t, r)
    }
    """)
    prepared = graph.prepare(source, batch=1)
    assert [node.op_type for node in prepared.graph] == ["Transpose", "Div"]
