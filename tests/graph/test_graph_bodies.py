"""What bodies read, how often loops run, and the shapes inside of them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from edgewise.errors import ModelError
from edgewise.graph import OrtSession, prepare
from edgewise.graph.bodies import captured, goes_on, trip_count

HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'


def parsed(text: str) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(HEAD + text))


def only(model: ir.Model, op_type: str) -> ir.Node:
    (node,) = [node for node in model.graph.all_nodes() if node.op_type == op_type]
    return node


def loop(limit: str, start: str, goes_on: str, more: str = "") -> ir.Node:
    model = parsed(
        f"""g (float[2] x, int64 m, bool c) => (float[2] y) <int64 five = {{5}}, int64 none = {{0}},
            int64 far = {{9223372036854775807}}, bool yes = {{1}}, bool no = {{0}}> {{
          y = Loop ({limit}, {start}, x) <body = b (int64 i, bool go, float[2] s)
              => (bool on, float[2] t) {{ {more} on = Identity({goes_on}) t = Add(s, x) }}>
        }}"""
    )
    return only(model, "Loop")


@pytest.mark.parametrize(
    ("limit", "start", "goes_on", "count"),
    [
        ("five", "", "go", 5),
        ("five", "yes", "go", 5),
        ("five", "yes", "yes", 5),
        ("five", "no", "go", 0),
        ("none", "c", "go", 0),
        ("five", "c", "go", None),
        ("five", "", "no", None),
        ("m", "", "go", None),
        ("", "yes", "go", None),
        ("far", "", "go", None),
    ],
)
def test_trip_count(limit, start, goes_on, count):
    assert trip_count(loop(limit, start, goes_on)) == count


def test_a_computed_condition_may_end_a_loop():
    node = loop("five", "", "low", "total = ReduceSum<keepdims = 0>(s) low = Less(total, total)")
    assert not goes_on(node.attributes["body"].as_graph())
    assert trip_count(node) is None


def test_a_body_captures_for_the_bodies_inside_of_it():
    model = parsed(
        """g (float[2] x, float[2] z, bool c) => (float[2] y) {
          w = Mul(x, x)
          y = If (c) <then_branch = outer () => (float[2] a) {
            own = Neg(x)
            a = If (c) <then_branch = t () => (float[2] p) { p = Add(own, w) },
                        else_branch = e () => (float[2] q) { q = Sub(z, x) }>
          }, else_branch = other () => (float[2] b) { b = Relu(x) }>
        }"""
    )
    branch = model.graph[1].attributes["then_branch"].as_graph()
    assert [value.name for value in captured(branch)] == ["x", "c", "w", "z"]


NESTED = """g (float[2,3] x, bool c) => (float[2,3] y) <int64 many = {3000}, float top = {9.0}> {
  y = Loop ("", c, x) <body = outer (int64 i, bool go, float s) => (bool on, float t) {
    t = Loop (many, "", s) <body = inner (int64 j, bool keep, float u) => (bool kept, float v) {
      dims = Shape(u)
      step = ConstantOfShape(dims)
      v = Add(u, step)
      kept = Identity(keep)
    }>
    total = ReduceSum<keepdims = 0>(t)
    on = Less(total, top)
  }>
}"""


def without_shapes(text: str) -> ir.Model:
    """As exporters write it: bodies with types, but without shapes."""
    proto = onnx.parser.parse_model(HEAD + text)

    def strip(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    for value in (*attribute.g.input, *attribute.g.output):
                        value.type.tensor_type.ClearField("shape")
                    strip(attribute.g)

    strip(proto.graph)
    return ir.from_proto(proto)


def test_shapes_of_nested_loops_are_found_by_induction():
    model = prepare(without_shapes(NESTED))
    for node in model.graph.all_nodes():
        assert all(value.shape is not None for value in node.outputs), node
    inner = only(model, "Add")
    assert tuple(inner.outputs[0].shape) == (2, 3)
    assert not [n for n in model.graph.all_nodes() if n.op_type == "Shape"]  # folded once known


def test_a_stacked_result_is_as_long_as_the_loop():
    model = prepare(
        without_shapes(
            """g (float[2] x) => (float[2] y, float[n,2] z) <int64 m = {3000}> {
              y, z = Loop (m, "", x) <body = b (int64 i, bool go, float s)
                  => (bool on, float t, float u) { t = Neg(s) u = Neg(t) on = Identity(go) }>
            }"""
        )
    )
    assert [tuple(value.shape) for value in only(model, "Loop").outputs] == [(2,), (3000, 2)]


def test_a_growing_value_keeps_an_unknown_shape():
    model = prepare(
        without_shapes(
            """g (float[2,3] x, int64 m) => (float[p,q] y) {
              w = Loop (m, "", x) <body = b (int64 i, bool go, float s) => (bool on, float t)
                  { t = Concat<axis = 0>(s, s) on = Identity(go) }>
              y = Relu(w)
            }"""
        )
    )
    body = only(model, "Loop").attributes["body"].as_graph()
    assert body.inputs[2].shape is None
    shape = only(model, "Relu").outputs[0].shape
    assert shape is None or not all(isinstance(dim, int) for dim in shape)


def test_bodies_get_the_small_constants_that_inference_needs():
    model = prepare(
        without_shapes(
            """g (float[6] x, bool c) => (float[2,3] y) <int64[2] dims = {2, 3}> {
              y = If (c) <then_branch = t () => (float a) { r = Reshape(x, dims) a = Neg(r) },
                          else_branch = e () => (float b) { b = Reshape(x, dims) }>
            }"""
        )
    )
    for node in model.graph.all_nodes():
        assert tuple(node.outputs[0].shape) == (2, 3)


def old_scan(lengths: str, batch: int | str = 2) -> ir.Model:
    text = f"""<ir_version: 3, opset_import: ["" : 8]>
    g (float[{batch},2] s, float[{batch},3,2] x, int64[2] l) => (float[b,2] y, float[b,t,2] z) {{
      y, z = Scan ({lengths}, s, x) <num_scan_inputs = 1, directions = [1], body = b
          (float[2] a, float[2] v) => (float[2] c, float[2] d) {{
            u = Unsqueeze<axes = [0]>(v) w = Squeeze<axes = [0]>(u)
            c = Sub(w, a) d = Mul(c, w)
          }}>
    }}"""
    return ir.from_proto(onnx.parser.parse_model(text))


def test_the_scan_of_opset_8_runs_every_sequence_of_its_batch():
    rng = np.random.default_rng(0)
    state, x = (rng.standard_normal(s).astype(np.float32) for s in ((2, 2), (2, 3, 2)))
    found = OrtSession(prepare(old_scan('""'))).run(
        {"s": state, "x": x, "l": np.array([3, 3])}, ["y", "z"]
    )
    pieces = []
    for step in (2, 1, 0):
        state = x[:, step] - state
        pieces.append(state * x[:, step])
    np.testing.assert_allclose(found["y"], state, rtol=1e-6)
    np.testing.assert_allclose(found["z"], np.stack(pieces, axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    ("lengths", "batch", "why"),
    [("l", 2, "lengths of their own"), ('""', "n", "not known"), ('""', 9000, "9000 x 3 steps")],
)
def test_a_scan_of_opset_8_that_cannot_be_written_out(lengths, batch, why):
    with pytest.raises(ModelError, match=why):
        prepare(old_scan(lengths, batch))
