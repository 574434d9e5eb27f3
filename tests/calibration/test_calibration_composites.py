"""Linear layers with a bias and gated activations: nothing inside them is quantized."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgewise.graph import quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE

ACTIVATIONS = frozenset({"Clip", "HardSwish", "Relu"})


@pytest.fixture
def whole(apple):
    return replace(apple, whole_composites=True, fused_activations=ACTIVATIONS)


def kinds(model):
    return [node.op_type for node in model.graph if node.op_type not in (QUANTIZE, DEQUANTIZE)]


def node_of(model, name):
    return next(node for node in model.graph if node.name == name)


def readers(value):
    return [use.node.op_type for use in value.uses()]


def linear(net, *shape, bias=(5,), swap=False):
    n = net()
    x = n.input("x", *shape)
    weight = n.const(n.random.normal(0, 0.5, (shape[-1], 5)).astype(np.float32))
    product = n.op("MatMul", x, weight, name="product")
    constant = n.const(n.random.normal(0, 0.5, bias).astype(np.float32))
    operands = (constant, product) if swap else (product, constant)
    return n, n.op("Add", *operands, name="sum")


@pytest.mark.parametrize("shape", [(2, 8), (1, 6, 8), (1, 3, 6, 8)])
@pytest.mark.parametrize("bias", [(5,), (1,), (1, 5), ()])
@pytest.mark.parametrize("swap", [False, True])
def test_a_bias_is_part_of_its_product(net, trial, whole, shape, bias, swap):
    n, y = linear(net, *shape, bias=bias, swap=swap)
    made = trial(n.model(y))
    model = made.quantize(whole)
    assert kinds(model) == ["MatMul", "Add"]
    product, add = node_of(model, "n_product"), node_of(model, "n_sum")
    assert readers(product.outputs[0]) == ["Add"]
    assert readers(add.outputs[0]) == [QUANTIZE]
    stored = add.inputs[1].producer()
    assert stored.inputs[0].const_value.numpy().dtype == np.int32
    scales = [quantization_of(value.producer()).scale for value in product.inputs]
    np.testing.assert_array_equal(quantization_of(stored).scale, scales[0] * scales[1])
    assert made.sqnr(model) > 30


def test_without_the_wish_both_are_quantized(net, trial, apple):
    n, y = linear(net, 1, 6, 8)
    model = trial(n.model(y)).quantize(apple)
    assert readers(node_of(model, "n_product").outputs[0]) == [QUANTIZE]


def test_an_activation_behind_the_bias_is_fused(net, trial, whole):
    n, y = linear(net, 1, 6, 8)
    made = trial(n.model(n.op("Relu", y, name="act")))
    model = made.quantize(whole)
    assert kinds(model) == ["MatMul", "Add", "Relu"]
    assert readers(node_of(model, "n_sum").outputs[0]) == ["Relu"]
    assert made.sqnr(model) > 25


@pytest.mark.parametrize(
    ("gate", "attributes"), [("Sigmoid", {}), ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5})]
)
def test_a_gate_is_one_activation(net, trial, whole, gate, attributes):
    n = net()
    value = n.conv(n.input("x", 1, 2, 6, 6), 2, 4, name="conv")
    inner = n.op(gate, value, name="gate", **attributes)
    made = trial(n.model(n.op("Mul", value, inner, name="product")))
    model = made.quantize(whole)
    assert kinds(model) == ["Conv", gate, "Mul"]
    assert sorted(readers(node_of(model, "n_conv").outputs[0])) == sorted([gate, "Mul"])
    assert readers(node_of(model, "n_gate").outputs[0]) == ["Mul"]
    assert readers(node_of(model, "n_product").outputs[0]) == [QUANTIZE]
    found = {item.name: item.value for item in node_of(model, "n_gate").attributes.values()}
    assert found == pytest.approx(attributes)
    assert made.sqnr(model) > 25


def test_a_gate_that_others_read_is_quantized(net, trial, whole):
    n = net()
    value = n.conv(n.input("x", 1, 2, 6, 6), 2, 4, name="conv")
    inner = n.op("Sigmoid", value, name="gate")
    product = n.op("Mul", value, inner, name="product")
    model = trial(n.model(product, n.op("MaxPool", inner, kernel_shape=[2, 2]))).quantize(whole)
    assert readers(node_of(model, "n_gate").outputs[0]) == [QUANTIZE]


def test_a_hard_sigmoid_of_another_slope_is_no_hard_swish(net, trial, whole):
    n = net()
    value = n.conv(n.input("x", 1, 2, 6, 6), 2, 4, name="conv")
    inner = n.op("HardSigmoid", value, name="gate", alpha=0.3)
    wider = replace(whole, quantized_ops=whole.quantized_ops | {"HardSigmoid"})
    model = trial(n.model(n.op("Mul", value, inner, name="product"))).quantize(wider)
    assert readers(node_of(model, "n_gate").outputs[0]) == [QUANTIZE]


@pytest.mark.parametrize("name", ["n_product", "n_sum"])
def test_excluded_nodes_stay_apart(net, trial, whole, name):
    n, y = linear(net, 1, 6, 8)
    model = trial(n.model(y)).quantize(whole, exclude=[name])
    assert kinds(model) == ["MatMul", "Add"]
    assert readers(node_of(model, name).inputs[0]) and name in {x.name for x in model.graph}
    assert "Add" not in readers(node_of(model, "n_product").outputs[0]) or name == "n_product"
