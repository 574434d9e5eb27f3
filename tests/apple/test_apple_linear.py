"""Gemm and MatMul in all their forms against ONNX Runtime, through the saved package."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

GEMMS = {
    "plain": ([(3, 4), (4, 5)], {}),
    "transposed weight and bias": ([(3, 4), (5, 4), (5,)], {"transB": 1}),
    "transposed input": ([(4, 3), (4, 5), (5,)], {"transA": 1}),
    "alpha and beta": ([(3, 4), (4, 5), (5,)], {"alpha": 0.5, "beta": 2.0}),
    "beta alone": ([(3, 4), (4, 5), (1, 5)], {"beta": -0.5}),
    "scalar bias": ([(3, 4), (4, 5), (1,)], {}),
    "bias per row": ([(3, 4), (4, 5), (3, 1)], {}),
    "bias per element": ([(3, 4), (4, 5), (3, 5)], {"beta": 3.0}),
    "one row, bias per element": ([(1, 4), (4, 5), (1, 5)], {}),
}
MATMULS = {
    "matrix": [(3, 4), (4, 5)],
    "sequence": [(1, 6, 4), (4, 5)],
    "four axes": [(1, 2, 6, 4), (4, 5)],
    "batched constant": [(2, 3, 4), (2, 4, 5)],
    "broadcast constant": [(3, 4), (2, 4, 5)],
    "vector on the right": [(3, 4), (4,)],
    "vector on the left": [(4,), (4, 5)],
    "two vectors": [(4,), (4,)],
}


@pytest.mark.parametrize("case", GEMMS.values(), ids=GEMMS.keys())
def test_gemm(node_matches_ort, case):
    node_matches_ort("Gemm", *case)


@pytest.mark.parametrize("operands", MATMULS.values(), ids=MATMULS.keys())
def test_matmul(node_matches_ort, operands):
    node_matches_ort("MatMul", operands)


@pytest.mark.parametrize("shapes", [((2, 3, 4), (4, 5)), ((4,), (2, 4, 3)), ((2, 4), (1, 4, 2))])
def test_products_of_computed_values(make, matches_ort, shapes):
    a, b = make.random(*shapes[0]), make.random(*shapes[1], seed=1)
    nodes = [helper.make_node("MatMul", ["a", "b"], ["y"])]
    matches_ort(make.build_model(nodes, {"a": a, "b": b}, ["y"]), {"a": a, "b": b})


def test_gemm_of_computed_values(make, matches_ort):
    feeds = {"a": make.random(3, 4), "b": make.random(5, 4, seed=1), "c": make.random(5, seed=2)}
    nodes = [helper.make_node("Gemm", ["a", "b", "c"], ["y"], transB=1, beta=0.5)]
    matches_ort(make.build_model(nodes, feeds, ["y"]), feeds)


def test_a_constant_on_the_left(make, matches_ort):
    x = make.random(4, 5)
    nodes = [helper.make_node("MatMul", ["w", "x"], ["y"])]
    model = make.build_model(nodes, {"x": x}, ["y"], {"w": make.random(3, 4, seed=1)})
    matches_ort(model, {"x": x})


@pytest.mark.parametrize(
    ("op_type", "trans_b", "axis"), [("Gemm", 0, 1), ("Gemm", 1, 0), ("MatMul", 0, 1)]
)
def test_quantized_weights_are_transposed_as_integers(make, matches_ort, op_type, trans_b, axis):
    x = make.random(2, 4)
    shape = (6, 4) if trans_b else (4, 6)
    data = np.random.default_rng(3).integers(-127, 128, shape).astype(np.int8)
    weight, constants = make.quantized_weight("w", data, np.linspace(0.01, 0.03, 6), axis=axis)
    pair, more = make.quantized_pair("x", 0.024)
    attributes = {"transB": 1} if trans_b else {}
    nodes = [*pair, *weight, helper.make_node(op_type, ["x_d", "w"], ["y"], **attributes)]
    model = make.build_model(nodes, {"x": x}, ["y"], {**constants, **more})
    matches_ort(model, {"x": x}, precision="w8a8", compute="fp32", atol=2e-5)


@pytest.mark.parametrize("axes", [(3, 4), (2, 3, 4), (2, 1, 3, 4), (4,)])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("scales", [[0.013], [0.01, 0.02, 0.03, 0.04]])
def test_quantized_vectors(make, matches_ort, axes, side, scales):
    """Behind Q and DQ, so that products of more than three axes are considered for `linear`."""
    x = make.random(*(axes if side == "right" else (*axes[:-1], 4, 2)))
    data = np.array([100, -127, 3, 64], np.int8)
    scale = np.array(scales if len(scales) > 1 else scales[0])
    weight, constants = make.quantized_weight("w", data, scale, axis=0 if scale.ndim else None)
    before, more = make.quantized_pair("x", 0.024)
    after, most = make.quantized_pair("p", 0.04)
    operands = ["x_d", "w"] if side == "right" else ["w", "x_d"]
    nodes = [*before, *weight, helper.make_node("MatMul", operands, ["p"]), *after]
    model = make.build_model(nodes, {"x": x}, ["p_d"], {**constants, **more, **most})
    matches_ort(model, {"x": x}, precision="w8a8", compute="fp32", atol=2e-5)


def test_quantized_matrices_in_a_batch(make, matches_ort):
    """A constant that is not one matrix is no `linear`."""
    x = make.random(2, 1, 3, 4)
    data = np.random.default_rng(3).integers(-127, 128, (5, 4, 2)).astype(np.int8)
    weight, constants = make.quantized_weight("w", data, np.array(0.02))
    before, more = make.quantized_pair("x", 0.024)
    after, most = make.quantized_pair("p", 0.04)
    nodes = [*before, *weight, helper.make_node("MatMul", ["x_d", "w"], ["p"]), *after]
    model = make.build_model(nodes, {"x": x}, ["p_d"], {**constants, **more, **most})
    matches_ort(model, {"x": x}, precision="w8a8", compute="fp32", atol=2e-5)
