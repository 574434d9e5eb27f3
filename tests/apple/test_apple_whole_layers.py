"""Layers of several ONNX nodes as one operation of Core ML, and products of many axes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from edgewise.graph import OrtSession
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET
from edgewise.targets.apple.legalize import legalize
from edgewise.targets.apple.package import read_package
from edgewise.targets.apple.table import is_known
from edgewise.targets.validation.layers import compare_layers

FP32 = EmitOptions(options={"compute": "fp32"})


def kinds(artifact):
    """The operations that compute, in order."""
    quiet = ("quantize", "dequantize", "cast", "identity")
    return [
        operation.kind
        for operation in read_package(artifact.path).operations
        if operation.kind not in quiet and not operation.kind.startswith("constexpr_")
    ]


def linear_model(make, shape, activation=None, *, output_rank=None):
    """quantize -> dequantize -> MatMul -> Add [-> activation] -> quantize -> dequantize"""
    size = shape[-1]
    data = np.random.default_rng(1).integers(-127, 128, (size, 5)).astype(np.int8)
    nodes, constants = make.quantized_pair("x", 0.02)
    more = make.quantized_weight("w", data, np.linspace(0.002, 0.01, 5), axis=1)
    nodes, constants = [*nodes, *more[0]], {**constants, **more[1]}
    constants["b"] = make.random(5, seed=3)
    nodes.append(helper.make_node("MatMul", ["x_d", "w"], ["p"], name="product"))
    nodes.append(helper.make_node("Add", ["b", "p"], ["s"], name="sum"))
    last = "s"
    if activation is not None:
        last = "a"
        nodes.append(helper.make_node(activation, ["s"], ["a"], name="act"))
    pair, more_constants = make.quantized_pair(last, 0.03)
    x = make.random(*shape)
    constants |= more_constants
    return make.build_model([*nodes, *pair], {"x": x}, [f"{last}_d"], constants), {"x": x}


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), (1, 2, 4, 6), (1, 2, 2, 3, 6)])
@pytest.mark.parametrize(("activation", "operation"), [(None, ()), ("Gelu", ("gelu",))])
def test_a_quantized_product_and_its_bias_are_one_linear(
    make, tmp_path, shape, activation, operation
):
    model, feeds = linear_model(make, shape, activation)
    artifact = TARGET.emit(model, tmp_path, "w8a8", options=FP32)
    computed = ["linear", *operation]
    assert kinds(artifact) == (["reshape", *computed, "reshape"] if len(shape) > 3 else computed)
    form = artifact.manifest.options["quantized_form"]
    assert (form["layers"], form["in_form"]) == (1, 1)
    expected = OrtSession(model).run(feeds)
    for name, array in TARGET.open(artifact).run(feeds).items():
        np.testing.assert_allclose(array, expected[name], atol=0.031 if activation else 1e-6)


def test_two_products_of_many_axes_share_what_lies_between(make):
    data = np.random.default_rng(1).integers(-127, 128, (6, 6)).astype(np.int8)
    nodes, constants = make.quantized_pair("x", 0.02)
    for index, source in enumerate(["x_d", "p0_d"]):
        name = f"w{index}"
        more = make.quantized_weight(name, data, np.full(6, 0.005), axis=1)
        nodes += more[0]
        nodes.append(helper.make_node("MatMul", [source, name], [f"p{index}"], name=f"m{index}"))
        pair, extra = make.quantized_pair(f"p{index}", 0.03)
        nodes += pair
        constants |= more[1] | extra
    x = make.random(1, 2, 4, 6)
    model = make.build_model(nodes, {"x": x}, ["p1_d"], constants)
    legal = legalize(model, is_known).model
    assert [node.op_type for node in legal.graph].count("Reshape") == 2
    assert legal.graph.outputs[0].name == "p1_d"


@pytest.mark.parametrize(
    ("gate", "attributes", "operations"),
    [
        ("Sigmoid", {}, ["silu"]),
        ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, ["sigmoid_hard", "mul"]),
    ],
)
def test_gated_activations(make, matches_ort, tmp_path, gate, attributes, operations):
    x = make.random(1, 3, 4, 4, low=-6, high=6)
    nodes = [
        helper.make_node(gate, ["x"], ["g"], **attributes),
        helper.make_node("Mul", ["g", "x"], ["y"], name="product"),
    ]
    model = make.build_model(nodes, {"x": x}, ["y"])
    matches_ort(model, {"x": x})
    assert kinds(TARGET.emit(model, tmp_path / "again", "fp32")) == operations


@pytest.mark.parametrize("compute", ["fp32", "fp16"])
@pytest.mark.parametrize("zero", [0, -9])
def test_layers_are_compared(make, tmp_path, compute, zero):
    model = make.quantized_cnn(inner_pair=True, zero=zero, last_float=True)
    options = EmitOptions(options={"compute": compute})
    artifact = TARGET.emit(model, tmp_path, "w8a8", options=options)
    feeds = [{"x": make.random(1, 3, 12, 12, seed=seed)} for seed in range(3)]
    report = compare_layers(model, artifact, feeds)
    assert report.samples == 3 and not report.beyond
    assert [layer.node for layer in report.layers] == [
        "x_q", "relu1", "pool", "conv2", "sum", "gap", "flatten", "fc",
    ]  # fmt: skip
    assert report.layers[1].operators == ("dequantize", "conv", "relu", "quantize")
    assert all(layer.elements for layer in report.layers)
    largest = max(layer.max_lsb for layer in report.layers)
    assert largest < 1e-3 if compute == "fp32" else largest <= 1
    assert {bool(layer.reason) for layer in report.layers} == {compute == "fp16"}


def test_a_layer_that_computes_something_else_is_found(make, tmp_path):
    """The package of a model that differs in one bias is held against the model."""
    model, other = make.quantized_cnn(), make.quantized_cnn()
    bias = next(v for v in other.graph.initializers.values() if v.name == "w2_bq")
    bias.const_value = ir.tensor(bias.const_value.numpy() + 5000, name="w2_bq")
    artifact = TARGET.emit(other, tmp_path, "w8a8")
    report = compare_layers(model, artifact, [{"x": make.random(1, 3, 12, 12)}])
    assert [layer.node for layer in report.beyond] == ["conv2"]
