"""Loop and Scan written out or as a Loop of several steps, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from edgewise.graph import OrtSession, prepare
from edgewise.graph.expand import expand

HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'
RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3)).astype(np.float32)


def written(source, feeds, *, loops=False):
    """The expanded model, and what it declined; what it gives is compared right away."""
    model = prepare(ir.from_proto(source))
    declined = expand(model, lambda node: node.op_type in ("Loop", "Scan"), loops=loops)
    wanted = OrtSession(source.SerializeToString()).run(feeds)
    found = OrtSession(model).run(feeds)
    for name, array in wanted.items():
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype)
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5)
    return model, [reason.why for reason in declined.values()]


def loop(count: int, body: str, outputs: str = "float[2,3] y", names: str = "y") -> onnx.ModelProto:
    return onnx.parser.parse_model(
        HEAD
        + f"""g (float[2,3] x) => ({outputs}) <int64 m = {{{count}}}, float half = {{0.5}}> {{
          {names} = Loop (m, "", x) <body = b (int64 i, bool go, float[2,3] s) => {body}>
        }}"""
    )


STACKING = """(bool on, float[2,3] t, float[2,3] a, float b) {
    on = Identity(go) n = Cast<to = 1>(i) h = Mul(s, half) t = Add(h, x) a = Mul(t, n)
    b = ReduceSum<keepdims = 0>(t)
}"""


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_short_loop_is_written_out(count):
    source = loop(
        count, STACKING, f"float[2,3] y, float[{count},2,3] z, float[{count}] w", "y, z, w"
    )
    model, declined = written(source, {"x": X})
    assert not declined
    assert "Loop" not in {node.op_type for node in model.graph}


def test_a_loop_that_never_runs_hands_on():
    model, declined = written(
        loop(0, "(bool on, float[2,3] t) { on = Identity(go) t = Neg(s) }"), {"x": X}
    )
    assert not declined
    assert not {node.op_type for node in model.graph} - {"Identity"}


def test_numbers_of_iterations_are_folded():
    body = """(bool on, float[2,3] t) { on = Identity(go) n = Cast<to = 1>(i) t = Mul(s, n) }"""
    model, _ = written(loop(3, body), {"x": X})
    assert {node.op_type for node in model.graph} == {"Mul"}


def test_a_loop_inside_of_a_loop():
    body = """(bool on, float[2,3] t) {
        on = Identity(go)
        t = Loop (m, "", s) <body = c (int64 j, bool keep, float[2,3] u)
            => (bool kept, float[2,3] v) { kept = Identity(keep) w = Add(u, x) v = Mul(w, half) }>
    }"""
    model, declined = written(loop(3, body), {"x": X})
    assert not declined
    assert [node.op_type for node in model.graph].count("Add") == 9


def test_a_long_loop_is_left_to_a_target_that_has_loops():
    body = "(bool on, float[2,3] t) { on = Identity(go) u = Mul(s, half) t = Add(u, x) }"
    source = loop(800, body)
    _, declined = written(source, {"x": X}, loops=True)
    assert declined == ["its 800 iterations are too many to write out"]
    model, declined = written(source, {"x": X})
    assert not declined
    assert "Loop" not in {node.op_type for node in model.graph}


def test_a_loop_whose_end_data_decide_is_declined():
    source = onnx.parser.parse_model(
        HEAD
        + """g (float[2,3] x, int64 m) => (float[2,3] y) {
          y = Loop (m, "", x) <body = b (int64 i, bool go, float[2,3] s) => (bool on, float[2,3] t)
              { on = Identity(go) t = Neg(s) }>
        }"""
    )
    _, declined = written(source, {"x": X, "m": np.array(3)})
    assert declined == ["the number of its iterations depends on data"]


def scan(length, axes, directions, output_axis, output_direction):
    """Two states, a vector and a number; two scanned inputs; one stacked output."""
    body = onnx.parser.parse_graph(
        """b (float[3] a, float n, float[3] v, float[3] w) => (float[3] c, float k, float[3] z) {
          t = Add(a, v) c = Tanh(t) u = ReduceMax<keepdims = 0>(w) k = Sub(u, n) z = Mul(c, k)
        }"""
    )
    attributes = {
        "scan_input_axes": axes,
        "scan_input_directions": directions,
        "scan_output_axes": [output_axis],
        "scan_output_directions": [output_direction],
    }
    node = helper.make_node(
        "Scan", ["a", "n", "v", "w"], ["y", "m", "z"], "n", body=body, num_scan_inputs=2,
        **attributes,
    )  # fmt: skip
    shapes = {"a": (3,), "n": (), "v": (length, 3), "w": (length, 3)}
    feeds = {k: RNG.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    for name, axis in zip("vw", axes, strict=True):
        feeds[name] = np.moveaxis(feeds[name], 0, axis)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(k, 1, v.shape) for k, v in feeds.items()],
        [helper.make_tensor_value_info(k, 1, None) for k in ("y", "m", "z")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return onnx.shape_inference.infer_shapes(proto), feeds


axes = st.sampled_from([0, 1, -1, -2])
bits = st.integers(0, 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), axes, axes, bits, bits, axes, bits)
def test_every_axis_and_direction_of_a_scan(length, first, second, one, two, axis, backwards):
    source, feeds = scan(length, [first, second], [one, two], axis, backwards)
    model, declined = written(source, feeds)
    assert not declined
    assert not {node.op_type for node in model.graph} & {"Scan", "Loop"}


@pytest.mark.parametrize("length", [1000, 1003])
@pytest.mark.parametrize("directions", [[0, 0], [1, 0], [1, 1]])
@pytest.mark.parametrize("backwards", [0, 1])
def test_a_long_scan_is_a_loop_of_several_steps(length, directions, backwards):
    source, feeds = scan(length, [1, 0], directions, 1, backwards)
    model, declined = written(source, feeds, loops=True)
    assert not declined
    assert [node.op_type for node in model.graph].count("Loop") == 1
    assert len(model.graph) < 300


def test_a_step_may_hand_on_a_state_and_exchange_two():
    source = onnx.parser.parse_model(
        HEAD
        + """g (float[3] a, float[3] b, float[4,3] x) => (float[3] c, float[3] d, float[4,3] z) {
          c, d, z = Scan (a, b, x) <num_scan_inputs = 1, body = s
              (float[3] p, float[3] q, float[3] v) => (float[3] r, float[3] t, float[3] u)
              { r = Identity(q) t = Identity(p) u = Add(p, v) }>
        }"""
    )
    feeds = {"a": X[0], "b": X[1], "x": RNG.standard_normal((4, 3)).astype(np.float32)}
    _, declined = written(source, feeds)
    assert not declined
