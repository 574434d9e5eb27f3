"""Where transposes end up, and that the model computes the same."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.graph import attribute

NAME = "place-transposes"
TO_NCHW, TO_NHWC = "perm: ints = [0, 3, 1, 2]", "perm: ints = [0, 2, 3, 1]"


def conv(count=1):
    random = np.random.default_rng(0)
    return {
        f"w{index}": random.standard_normal((4, 4, 1, 1)).astype(np.float32)
        for index in range(count)
    }


def transposes(result):
    return result.ops.get("Transpose", 0)


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        ("z = Relu (y)", {}),
        ("z = Add (y, k)", {"k": np.arange(4, dtype=np.float32)}),
        ("z = Mul (k, y)", {"k": np.arange(20, dtype=np.float32).reshape(1, 5, 1, 4)}),
        ("z = Clip (y, lo, hi)", {"lo": np.float32(-1), "hi": np.float32(1)}),
        ("z = PRelu (y, k)", {"k": np.arange(4, dtype=np.float32)}),
        ("s = Sigmoid (y)\n z = Mul (y, s)", {}),
        ("z = Softmax <axis = -1> (y)", {}),
        ("z = Concat <axis = 1> (y, k)", {"k": np.ones((2, 3, 6, 4), np.float32)}),
        ("a, b = Split <axis = 3, num_outputs = 2> (y)\n z = Concat <axis = 3> (b, a)", {}),
        ("z = Pad (y, p)", {"p": np.array([0, 1, 2, 0, 0, 3, 4, 0])}),
        ("z = Pad (y, p, , a)", {"p": np.array([1, 2, 3, 4]), "a": np.array([1, -2])}),
        ("z = Slice (y, s, e, a)", {"s": np.array([1]), "e": np.array([5]), "a": np.array([2])}),
        (
            "z = Slice (y, s, e)",
            {"s": np.array([0, 1], np.int32), "e": np.array([2, 4], np.int32)},
        ),
        ("z = Tile (y, r)", {"r": np.array([1, 2, 3, 1])}),
        ("z = CumSum (y, a)", {"a": np.array(1)}),
        ("z = Gather <axis = 2> (y, i)", {"i": np.array([3, 0, 1])}),
        ("z = ReduceMean <keepdims = 1> (y, a)", {"a": np.array([1, 2])}),
        (
            "z = Resize <mode = 'nearest', nearest_mode = 'floor',"
            " coordinate_transformation_mode = 'asymmetric'> (y, , s)",
            {"s": np.array([1, 2, 3, 1], np.float32)},
        ),
    ],
)
def test_operators_between_convolutions_go_along(parse, rewrite, text, constants):
    text = text.replace("'", '"')
    model = parse(
        f"""g (float[2, 4, 5, 6] x) => (float[a, b, c, d] out) {{
          u = Conv (x, w0)
          y = Transpose <{TO_NHWC}> (u)
          {text}
          v = Transpose <{TO_NCHW}> (z)
          out = Conv (v, w1) }}""",
        **conv(2),
        **constants,
    )
    assert transposes(rewrite(model, NAME)) == 0


@pytest.mark.parametrize("op", ["ArgMax", "ReduceMax"])
def test_axes_that_go_away(parse, rewrite, op):
    body = f"{op} <axis = 3, keepdims = 0> (y)" if op == "ArgMax" else f"{op} <keepdims = 0> (y, a)"
    model = parse(
        f"""g (float[2, 4, 5, 6] x) => (float[a, b, c] out) {{
          u = Conv (x, w0)
          y = Transpose <{TO_NHWC}> (u)
          z = {body}
          out = Cast <to = 1> (z) }}""",
        a=np.array([3]),
        **conv(),
    )
    assert transposes(rewrite(model, NAME)) == 0, "(n, h, w) is (n, h, w) in both orders"


def test_residual_blocks_in_channels_last(parse, rewrite):
    model = parse(
        f"""g (float[n, 5, 5, 4] x) => (float[n, 5, 5, 4] out) {{
          a = Transpose <{TO_NCHW}> (x)
          b = Conv (a, w0)
          c = Transpose <{TO_NHWC}> (b)
          d = Relu (c)
          e = Transpose <{TO_NCHW}> (d)
          f = Conv (e, w1)
          g = Transpose <{TO_NHWC}> (f)
          h = Add (g, d)
          i = Add (h, x)
          j = Transpose <{TO_NCHW}> (i)
          k = Conv (j, w2)
          out = Transpose <{TO_NHWC}> (k) }}""",
        **conv(3),
    )
    result = rewrite(model, NAME)
    assert transposes(result) == 2, (
        "one at the input, whose two readers share it, one at the output"
    )
    last = [node for node in result.model.graph if node.op_type == "Transpose"][-1]
    assert last.outputs[0].name == "out" and attribute(last, "perm") == [0, 2, 3, 1]


def test_axes_of_size_one_take_a_reshape(parse, rewrite):
    model = parse(
        f"""g (float[n, 5, 6, 1] x) => (float[n, 4, 5, 6] out) {{
          y = Transpose <{TO_NCHW}> (x)
          out = Conv (y, w) }}""",
        w=np.ones((4, 1, 1, 1), np.float32),
    )
    assert rewrite(model, NAME).ops == {"Conv": 1, "Reshape": 1}


def test_channels_first_models_are_left_alone(parse, rewrite):
    """Attention heads change places; nothing there would be saved."""
    model = parse(
        """g (float[n, 7, 2, 4] x, float[n, 2, 7, 4] k) => (float[n, 7, 2, 4] out) {
          q = Transpose <perm: ints = [0, 2, 1, 3]> (x)
          t = Transpose <perm: ints = [0, 1, 3, 2]> (k)
          s = MatMul (q, t)
          p = Softmax <axis = -1> (s)
          c = MatMul (p, q)
          out = Transpose <perm: ints = [0, 2, 1, 3]> (c) }"""
    )
    assert not rewrite(model, NAME).modified


def test_a_value_that_meets_itself_transposed(parse, rewrite):
    model = parse(
        """g (float[4, 4] x) => (float[4, 4] out) {
          y = Transpose <perm: ints = [1, 0]> (x)
          z = Add (x, y)
          out = Relu (z) }"""
    )
    assert transposes(rewrite(model, NAME)) == 1


def test_outputs_in_both_orders_keep_their_names(parse, rewrite):
    model = parse(
        f"""g (float[2, 4, 5, 6] x) => (float[a, b, c, d] first, float[e, f, g, h] last) {{
          first = Conv (x, w0)
          y = Transpose <{TO_NHWC}> (first)
          last = Relu (y) }}""",
        **conv(),
    )
    result = rewrite(model, NAME)
    assert [value.name for value in result.model.graph.outputs] == ["first", "last"]
    assert transposes(result) == 1


def test_bodies_read_what_they_read_before(parse, rewrite):
    model = parse(
        f"""g (bool c, float[2, 4, 5, 6] x) => (float[m, n, o, p] out, float[a, b, d, e] z) {{
          u = Conv (x, w0)
          y = Transpose <{TO_NHWC}> (u)
          r = Relu (y)
          out = If (c) <
            then_branch = t () => (float[m, n, o, p] s) {{ s = Sin (r) }},
            else_branch = f () => (float[m, n, o, p] q) {{ q = Cos (r) }}>
          v = Transpose <{TO_NCHW}> (r)
          z = Conv (v, w1) }}""",
        **conv(2),
    )
    assert transposes(rewrite(model, NAME)) == 1
