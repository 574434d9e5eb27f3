"""Products and their biases, joined."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from edgewise.graph import OrtSession, prepare
from edgewise.graph.joined_bias import join_biases

LAYER = "p = MatMul (x, w)\n s = Add (p, b)\n"


def build(header, body, bias=(5,), width=4, **constants):
    text = f'<ir_version: 10, opset_import: ["": 21]>\n g ({header}) => (float[k] y) {{ {body} }}'
    proto = onnx.parser.parse_model(text)
    random = np.random.default_rng(3)
    arrays = {
        "w": random.standard_normal((width, 5)).astype(np.float32),
        "b": random.standard_normal(bias).astype(np.float32),
        **constants,
    }
    proto.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in arrays.items())
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    return prepare(ir.from_proto(proto))


def joined(model, shape, keep=()):
    """Counts of operators once joined; what the model computes must not change."""
    before = ir.from_proto(ir.to_proto(model))
    aliases = join_biases(model, keep)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    x = np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    expected, found = (OrtSession(m).run({"x": x}) for m in (before, model))
    assert list(expected) == list(found)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    old = {value.name for node in before.graph for value in node.outputs} | {"x"}
    new = {value.name for node in model.graph for value in node.outputs}
    assert set(aliases) <= new - old and set(aliases.values()) <= old
    assert new - set(aliases) <= old
    return dict(Counter(node.op_type for node in model.graph))


@pytest.mark.parametrize("bias", [(5,), (1,), (), (1, 5), (1, 1)])
def test_a_matrix(bias):
    model = build("float[3, 4] x", LAYER + "y = Neg (s)", bias)
    assert joined(model, (3, 4)) == {"Gemm": 1, "Neg": 1}


@pytest.mark.parametrize("bias", [(5,), (), (1, 1, 5)])
@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 2, 3, 4)])
def test_more_axes(bias, shape):
    if len(bias) > len(shape):
        pytest.skip("the bias would add an axis")
    header = f"float[{', '.join(map(str, shape))}] x"
    model = build(header, LAYER + "y = Neg (s)", bias)
    assert joined(model, shape) == {"Reshape": 2, "Gemm": 1, "Neg": 1}


def test_the_bias_may_come_first_and_the_sum_be_an_output():
    model = build("float[2, 3, 4] x", "p = MatMul (x, w)\n y = Add (b, p)")
    assert joined(model, (2, 3, 4)) == {"Reshape": 2, "Gemm": 1}


@pytest.mark.parametrize("activation", ["Relu (s)", "Clip (s, low, high)"])
def test_an_activation_stays_next_to_the_product(activation):
    limits = {"low": np.float32(-1), "high": np.float32(1)}
    model = build("float[2, 3, 4] x", LAYER + f"y = {activation}", **limits)
    assert joined(model, (2, 3, 4)) == {"Reshape": 2, "Gemm": 1, activation.split()[0]: 1}
    assert [n.op_type for n in model.graph][-1] == "Reshape"


def test_one_free_axis_stays_free():
    model = build("float[N, 3, 4] x", LAYER + "y = Neg (s)")
    assert joined(model, (2, 3, 4))["Gemm"] == 1
    assert str(model.graph.outputs[0].shape[0]) == "N"


@pytest.mark.parametrize(
    ("header", "body", "bias"),
    [
        ("float[N, S, 4] x", LAYER + "y = Neg (s)", (5,)),
        ("float[2, 3, 4] x", LAYER + "y = Mul (s, p)", (5,)),
        ("float[2, 3, 4] x", LAYER + "y = Neg (s)", (3, 5)),
        ("float[2, 3, 4] x", LAYER + "y = Neg (s)", (1, 1, 1, 5)),
        ("float[5, 4] x", LAYER + "y = Neg (s)", (5, 1)),
        ("float[4] x", LAYER + "y = Neg (s)", (5,)),
        ("float[3, 4] x", "p = MatMul (x, w)\n y = Add (p, p)", (5,)),
        ("float[3, 4] x", "p = MatMul (x, w)\n y = Sub (p, b)", (5,)),
    ],
)
def test_others_stay(header, body, bias):
    model = build(header, body, bias)
    assert not join_biases(model)
    assert "Gemm" not in {node.op_type for node in model.graph}


def test_nodes_to_keep_stay():
    model = build("float[3, 4] x", LAYER + "y = Neg (s)")
    names = [node.name for node in model.graph]
    assert not join_biases(model, names[1:2])
    assert [node.name for node in model.graph] == names
