"""QDQ models: the float form, and what is known of its tensors."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.errors import ModelError
from edgewise.exporters import export
from edgewise.exporters.quantized import float_form, is_quantized_source
from edgewise.graph import OrtSession, known_ranges

S, Z = np.float32(0.1), np.int8(3)
W = np.array([[[[5]]], [[[-7]]]], np.int8)


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def told(ranges, name):
    """Scale, zero point and dtype of a tensor."""
    known = ranges[name]
    return known.scale.tolist(), known.zero_point.tolist(), known.zero_point.dtype.name


def f32(*numbers):
    """float32 numbers as Python has them after a round trip."""
    return [float(np.float32(number)) for number in numbers]


def test_pairs_around_operators_leave_scales_by_name(parse):
    model = parse(
        """g (float[1, 1, 4, 4] x) => (float[1, 2, 4, 4] y) {
          xq = QuantizeLinear (x, s, z)
          xd = DequantizeLinear (xq, s, z)
          wd = DequantizeLinear <axis: int = 0> (w_quantized, ws, wz)
          bd = DequantizeLinear <axis: int = 0> (b_quantized, bs, bz)
          c = Conv (xd, wd, bd)
          cq = QuantizeLinear (c, s2, z2)
          y = DequantizeLinear (cq, s2, z2) }""",
        s=S, z=Z, s2=np.float32(0.25), z2=np.int8(-5), w_quantized=W,
        ws=np.array([0.1, 0.2], np.float32), wz=np.zeros(2, np.int8),
        b_quantized=np.array([100, -200], np.int32),
        bs=np.array([0.01, 0.02], np.float32), bz=np.zeros(2, np.int32),
    )  # fmt: skip
    assert is_quantized_source(model)
    result = export(model)
    assert ops(result.model) == ["Conv"]
    assert result.parity.max_abs_error == 0.0
    assert sorted(result.ranges) == ["w", "x", "y"]
    assert told(result.ranges, "x") == (f32(0.1)[0], 3, "int8")
    assert told(result.ranges, "y") == (0.25, -5, "int8")
    assert told(result.ranges, "w") == (f32(0.1, 0.2), [0, 0], "int8")
    bias = result.model.graph.initializers["b"].const_value.numpy()
    np.testing.assert_allclose(bias, [1.0, -4.0], rtol=1e-6)
    carried = known_ranges(result.model)
    assert all(carried[name].same_as(known) for name, known in result.ranges.items())


@pytest.mark.parametrize("top, kind", [(6.0, "Clip"), (5.3, "Relu")])
def test_an_activation_that_lives_on_in_saturation_comes_back(parse, top, kind):
    model = parse(
        """g (float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y) {
          c = Conv (x, w)
          q = QuantizeLinear (c, s, z)
          y = DequantizeLinear (q, s, z) }""",
        s=np.float32(top / 255), z=np.uint8(0), w=np.full((1, 1, 1, 1), 9, np.float32),
    )  # fmt: skip
    result = export(model)
    assert ops(result.model) == ["Conv", kind]
    assert result.parity.max_abs_error == 0.0
    assert list(result.ranges) == ["y"], "the range is that of the activation's result"


def test_what_cannot_be_negative_gets_no_activation(parse):
    model = parse(
        """g (float[1, 1, 4, 4] x) => (float[1, 1, 2, 2] y) {
          xq = QuantizeLinear (x, s, z)
          xd = DequantizeLinear (xq, s, z)
          t = Sigmoid (xd)
          p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (t)
          q = QuantizeLinear (p, s, z)
          y = DequantizeLinear (q, s, z) }""",
        s=np.float32(1 / 255), z=np.uint8(0),
    )  # fmt: skip
    assert ops(export(model).model) == ["Sigmoid", "MaxPool"]


def test_fake_quantization_of_weights_is_their_rounding(parse):
    weight = np.array([[[[0.123]]], [[[-9.0]]]], np.float32)
    model = parse(
        """g (float[1, 1, 4, 4] x) => (float[1, 2, 4, 4] y) {
          wq = QuantizeLinear <axis: int = 0> (w, s, z)
          wd = DequantizeLinear <axis: int = 0> (wq, s, z)
          y = Conv (x, wd) }""",
        w=weight, s=np.array([0.01, 0.02], np.float32), z=np.zeros(2, np.int8),
    )  # fmt: skip
    result = export(model)
    assert list(result.ranges) == ["w"]
    array = result.model.graph.initializers["w"].const_value.numpy().ravel()
    np.testing.assert_array_equal(array, np.float32([0.01, 0.02]) * np.float32([12, -128]))
    assert result.parity.max_rel_error < 1e-6


def test_integers_at_the_border_become_floats_of_the_same_names(parse):
    model = parse(
        """g (int8[1, 4, 4, 2] x) => (uint8[1, 2, 4, 4] y) {
          t = Transpose <perm = [0, 3, 1, 2]> (x)
          d = DequantizeLinear (t, s, z)
          r = Relu (d)
          y = QuantizeLinear (r, s2, z2) }""",
        s=S, z=Z, s2=np.float32(0.05), z2=np.uint8(0),
    )  # fmt: skip
    result = export(model)
    assert ops(result.model) == ["Transpose", "Relu"]
    (source,), (output,) = result.model.graph.inputs, result.model.graph.outputs
    assert (source.name, output.name) == ("x", "y")
    assert source.dtype is output.dtype is ir.DataType.FLOAT
    assert told(result.ranges, "x") == (f32(0.1)[0], 3, "int8")
    assert told(result.ranges, "y") == (f32(0.05)[0], 0, "uint8")
    messages = [f.message for f in result.findings if f.rule == "export/quantized-border"]
    assert messages == [
        "input 'x' is float in the hub model; its integers were int8, scale 0.1, zero point 3",
        "output 'y' is float in the hub model; its integers were uint8, scale 0.05, zero point 0",
    ]
    assert result.parity.max_abs_error == 0.0, "the source was run on the integers"


def test_the_first_of_two_scales_in_a_row_is_kept_and_told(parse):
    model = parse(
        """g (float[2, 3] x) => (float[2, 3] y) {
          a = Neg (x)
          q = QuantizeLinear (a, s, z)
          d = DequantizeLinear (q, s, z)
          q2 = QuantizeLinear (d, s2, z)
          d2 = DequantizeLinear (q2, s2, z)
          y = Abs (d2) }""",
        s=np.float32(0.03), z=Z, s2=np.float32(0.04),
    )  # fmt: skip
    result = export(model)
    assert ops(result.model) == ["Neg", "Abs"]
    assert told(result.ranges, "a") == (f32(0.03)[0], 3, "int8")
    (again,) = [f for f in result.findings if "again" in f.message]
    assert "'a'" in again.message and "scale 0.03, zero point 3" in again.message


def test_a_pair_that_several_read_and_one_that_is_an_output(parse):
    model = parse(
        """g (float[2, 3] x) => (float[2, 3] y, float[2, 3] r, float[2, 3] a) {
          a = Neg (x)
          q = QuantizeLinear (a, s, z)
          y = DequantizeLinear (q, s, z)
          d = DequantizeLinear (q, s, z)
          r = Relu (d) }""",
        s=S, z=Z,
    )  # fmt: skip
    form = float_form(model)
    names = [value.name for value in form.model.graph.outputs]
    assert names == ["y", "r", "a"]
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    found = OrtSession(form.model).run({"x": x})
    np.testing.assert_array_equal(found["y"], -x)
    np.testing.assert_array_equal(found["r"], np.maximum(-x, 0))
    np.testing.assert_array_equal(found["a"], -x)


def test_integers_that_are_moved_clipped_and_searched(parse):
    """The narrow range of some quantizers is a Clip of integers; ArgMax keeps its indices."""
    model = parse(
        """g (float[1, 2, 4, 4] x) => (float[1, 8, 2] y, int64[1, 1, 4, 4] i) {
          q = QuantizeLinear (x, s, z)
          c = Clip (q, low, high)
          p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (c)
          j = Concat <axis = 2> (p, p)
          f = Reshape (j, shape)
          y = DequantizeLinear (f, s, z)
          i = ArgMax <axis = 1> (c) }""",
        s=S, z=Z, low=np.int8(-20), high=np.int8(30), shape=np.array([1, 8, 2], np.int64),
    )  # fmt: skip
    result = export(model)
    assert sorted(ops(result.model)) == sorted(["Clip", "MaxPool", "Concat", "Reshape", "ArgMax"])
    assert result.parity.max_abs_error == 0.0
    assert {told(result.ranges, name) for name in ("x", "p", "j", "y")} == {
        (f32(0.1)[0], 3, "int8")
    }
    clip = next(node for node in result.model.graph if node.op_type == "Clip")
    bounds = [value.const_value.numpy() for value in clip.inputs[1:]]
    np.testing.assert_allclose(bounds, [-2.3, 2.7], rtol=1e-6)


def test_a_table_of_integers_that_is_looked_up(parse):
    table = np.arange(-6, 6, dtype=np.int8).reshape(4, 3)
    model = parse(
        """g (int64[5] i) => (float[5, 3] y) {
          rows = Gather (table, i)
          y = DequantizeLinear (rows, s, z) }""",
        table=table, s=S, z=Z,
    )  # fmt: skip
    result = export(model)
    assert ops(result.model) == ["Gather"]
    weights = result.model.graph.initializers["table"].const_value.numpy()
    np.testing.assert_array_equal(weights, (table.astype(np.float32) - 3) * S)


def test_weights_keep_their_scales_through_a_transpose(parse):
    integers = np.arange(-6, 6, dtype=np.int8).reshape(2, 6)
    model = parse(
        """g (float[1, 6] x) => (float[1, 2] y) {
          d = DequantizeLinear <axis: int = 0> (w, s, z)
          t = Transpose <perm = [1, 0]> (d)
          y = MatMul (x, t) }""",
        w=integers, s=np.array([0.5, 0.25], np.float32), z=np.zeros(2, np.int8),
    )  # fmt: skip
    result = export(model)
    product = next(node for node in result.model.graph)
    known = result.ranges[product.inputs[1].name]
    assert known.axis == 1 and known.scale.tolist() == [0.5, 0.25]
    np.testing.assert_array_equal(
        product.inputs[1].const_value.numpy(), integers.T * np.float32([0.5, 0.25])
    )


def test_a_float_island_keeps_its_float_tensors(parse):
    model = parse(
        """g (float[2, 3] x) => (float[2, 3] y) {
          q = QuantizeLinear (x, s, z)
          d = DequantizeLinear (q, s, z)
          e = Exp (d)
          l = Log (e)
          lq = QuantizeLinear (l, s, z)
          y = DequantizeLinear (lq, s, z) }""",
        s=S, z=Z,
    )  # fmt: skip
    result = export(model)
    assert sorted(result.ranges) == ["x", "y"]


def test_blocks_of_weights_are_float_weights_without_scales_of_their_own(parse):
    model = parse(
        """g (float[1, 4] x) => (float[1, 2] y) {
          d = DequantizeLinear <axis: int = 0, block_size: int = 2> (w, s)
          y = MatMul (x, d) }""",
        w=np.array([[1, 2], [3, 4], [5, 6], [7, -8]], np.int8),
        s=np.array([[0.5, 0.25], [1.0, 2.0]], np.float32),
    )
    result = export(model)
    assert ops(result.model) == ["MatMul"] and result.ranges == {}
    assert result.parity.max_rel_error < 1e-6


def test_a_hub_model_that_is_exported_again_keeps_its_ranges(parse):
    model = parse(
        """g (float[2, 3] x) => (float[2, 3] y) {
          q = QuantizeLinear (x, s, z)
          d = DequantizeLinear (q, s, z)
          y = Neg (d) }""",
        s=S, z=Z,
    )  # fmt: skip
    once = export(model)
    again = export(once.model)
    assert again.parity.max_abs_error == 0.0
    assert again.ranges.keys() == once.ranges.keys() == {"x"}
    assert known_ranges(again.model)["x"].same_as(once.ranges["x"])


@pytest.mark.parametrize(
    "body, why",
    [
        ("q = QuantizeLinear (x, s, z)\n c = Cast <to = 6> (q)\n y = Cast <to = 1> (c)", "Cast"),
        ("q = QuantizeLinear (x, s, z)\n c = BitwiseNot (q)\n y = DequantizeLinear (c, s, z)",
         "BitwiseNot"),
    ],
)  # fmt: skip
def test_integers_that_are_computed_with_are_refused_by_name(parse, body, why):
    model = parse(f"g (float[2, 3] x) => (float[2, 3] y) {{ {body} }}", s=S, z=Z)
    with pytest.raises(ModelError, match=why) as refused:
        export(model)
    assert "\n" not in str(refused.value)
    assert "float model" in (refused.value.remedy or "")


SILU = """g (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y) {
  xq = QuantizeLinear (x, s, z)
  xd = DequantizeLinear (xq, s, z)
  t = Sigmoid (xd)
  tq = QuantizeLinear (t, st, zt)
  td = DequantizeLinear (tq, st, zt)
  m = Mul (xd, td)
  q = QuantizeLinear (m, sy, z)
  y = DequantizeLinear (q, sy, z) }"""


def test_the_gate_of_a_fused_silu_keeps_its_scale_and_rounding(parse):
    coarse = {"st": np.float32(0.05), "zt": np.int8(-10)}
    source = parse(SILU, s=S, z=Z, sy=np.float32(0.09), **coarse)
    once = export(source)
    assert ops(once.model) == ["Swish"]
    assert sorted(once.ranges) == ["x", "y", "y_sigmoid"]
    assert told(once.ranges, "y_sigmoid") == (f32(0.05)[0], -10, "int8")
    assert once.parity.max_abs_error == 0.0, "compared as the source rounds the gate"
    again = export(once.model)
    assert again.ranges.keys() == once.ranges.keys()
    assert again.parity.max_abs_error == 0.0


def test_a_tensor_that_is_named_like_a_gate_keeps_its_own_scale(parse):
    text = SILU.replace("4] y)", "4] y, float[1, 2, 4, 4] y_sigmoid)").replace(
        " }",
        " n = Neg (y) nq = QuantizeLinear (n, sn, z) y_sigmoid = DequantizeLinear (nq, sn, z) }",
    )
    result = export(
        parse(text, s=S, z=Z, sy=np.float32(0.09), sn=np.float32(0.2), st=np.float32(0.05),
              zt=np.int8(-10))
    )  # fmt: skip
    assert told(result.ranges, "y_sigmoid") == (f32(0.2)[0], 3, "int8")
    assert told(result.ranges, "y_sigmoid_2") == (f32(0.05)[0], -10, "int8")
    assert result.parity.max_abs_error == 0.0
