"""Arithmetic, comparison, selection and casts against ONNX Runtime, through the saved package."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper

POSITIVE = np.random.default_rng(5).uniform(0.1, 4, (2, 3, 4)).astype(np.float32)
UNIT = np.random.default_rng(6).uniform(-0.95, 0.95, (2, 3, 4)).astype(np.float32)
INTEGERS = np.arange(-6, 6, dtype=np.int32).reshape(3, 4)
WIDE = np.array([-65.5, -2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5, 65.5], np.float32)


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean"])
@pytest.mark.parametrize("shapes", [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (3, 1)), ((4,), (2, 1, 4))])
def test_arithmetic(node_matches_ort, op_type, shapes):
    node_matches_ort(op_type, list(shapes), atol=1e-4)


@pytest.mark.parametrize("op_type", ["Max", "Min", "Sum", "Mean"])
@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_inputs(node_matches_ort, op_type, count):
    node_matches_ort(op_type, [(2, 3), (1, 3), (2, 1)][:count])


@pytest.mark.parametrize(
    "op_type",
    ["Abs", "Neg", "Sign", "Floor", "Ceil", "Round", "Exp", "Erf", "Sin", "Cos", "Tanh", "Atan"],
)
def test_unary(node_matches_ort, op_type):
    x = np.concatenate([WIDE / 20, np.linspace(-3, 3, 15, dtype=np.float32)])
    node_matches_ort(op_type, [x if op_type != "Round" else WIDE])


@pytest.mark.parametrize("op_type", ["Log", "Sqrt", "Reciprocal"])
def test_unary_of_positive_numbers(node_matches_ort, op_type):
    tiny = np.array([1e-6, 1e-3, 1, 1e3], np.float32)
    node_matches_ort(op_type, [POSITIVE])
    node_matches_ort(op_type, [tiny])  # an epsilon in the argument would show


@pytest.mark.parametrize("op_type", ["Asin", "Acos", "Atanh", "Tan", "Sinh", "Cosh"])
def test_trigonometry(node_matches_ort, op_type):
    node_matches_ort(op_type, [UNIT])


@pytest.mark.parametrize("exponent", [2.0, 0.5, 3.0, -1.5])
def test_power_of_a_scalar(node_matches_ort, exponent):
    node_matches_ort("Pow", [POSITIVE, np.array(exponent, np.float32)], atol=1e-4)


def test_power_of_negative_bases_and_integer_exponents(node_matches_ort):
    node_matches_ort("Pow", [(2, 3), np.array(2, np.int64)])
    node_matches_ort("Pow", [(2, 3), np.array([1, 2, 3], np.int64)], atol=1e-4)


@pytest.mark.parametrize("op_type", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
def test_comparisons(node_matches_ort, op_type):
    node_matches_ort(op_type, [WIDE, WIDE[::-1].copy()])


@pytest.mark.parametrize("op_type", ["And", "Or", "Xor"])
def test_logic_with_boolean_inputs_and_outputs(node_matches_ort, op_type):
    x, y = np.array([True, True, False, False]), np.array([True, False, True, False])
    node_matches_ort(op_type, [x, y])


def test_not(node_matches_ort):
    node_matches_ort("Not", [np.array([True, False])])


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Max", "Min", "Mod"])
def test_integers(node_matches_ort, op_type):
    node_matches_ort(op_type, [INTEGERS, np.array([2, -3, 5, 7], np.int32)])


def test_64_bit_integers_become_32_bit_ones_in_the_file(node_matches_ort):
    results = node_matches_ort("Add", [INTEGERS.astype(np.int64), np.array(3, np.int64)])
    assert results["y0"].dtype == np.int64


@pytest.mark.parametrize(
    "to", [TensorProto.INT32, TensorProto.INT64, TensorProto.FLOAT, TensorProto.BOOL]
)
def test_cast(node_matches_ort, to):
    node_matches_ort("Cast", [WIDE], {"to": to})


def test_cast_from_integers(node_matches_ort):
    node_matches_ort("Cast", [INTEGERS], {"to": TensorProto.FLOAT})
    node_matches_ort("Cast", [np.abs(INTEGERS)], {"to": TensorProto.UINT8})


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float64, np.float16])
def test_inputs_of_other_types(make, matches_ort, dtype):
    x = np.arange(6).astype(dtype).reshape(2, 3)
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
    matches_ort(make.build_model(nodes, {"x": x}, ["y"]), {"x": x})


def test_where(make, matches_ort):
    x = make.random(2, 3)
    nodes = [
        helper.make_node("Greater", ["x", "zero"], ["c"]),
        helper.make_node("Where", ["c", "x", "other"], ["y"]),
    ]
    constants = {"zero": np.zeros((), np.float32), "other": make.random(3, seed=1)}
    matches_ort(make.build_model(nodes, {"x": x}, ["y"], constants), {"x": x})


@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=7, max_side=3),
    dtype=st.sampled_from([np.float32, np.int32]),
    seed=st.integers(0, 99),
)
def test_any_shapes(make, matches_ort, shapes, dtype, seed):
    a, b = (
        np.asarray(make.random(*shape, seed=seed + k, low=-99, high=99).astype(dtype))
        for k, shape in enumerate(shapes.input_shapes)
    )
    names = ["Add", "Sub", "Mul", "Max", "Min", "Less", "Equal"]
    nodes = [helper.make_node(name, ["a", "b"], [f"y_{name}"]) for name in names]
    feeds = {"a": a, "b": b}
    matches_ort(make.build_model(nodes, feeds, [f"y_{name}" for name in names]), feeds, atol=1e-3)
