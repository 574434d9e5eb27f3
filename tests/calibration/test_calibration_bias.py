"""int32 biases: scale s_in * s_w, zero point 0, whatever the float model looks like."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.graph import constant, quantization_of
from edgewise.graph.quantized import DEQUANTIZE


def operand(node, index):
    producer = node.inputs[index].producer()
    assert producer.op_type == DEQUANTIZE
    return quantization_of(producer), constant(producer.inputs[0])


def node_of(model, kind):
    return next(node for node in model.graph if node.op_type == kind)


def check(node):
    """The rule itself; gives the float bias that the integers stand for."""
    source, _ = operand(node, 0)
    weight, _ = operand(node, 1)
    bias, stored = operand(node, 2)
    assert stored.dtype == np.int32 and stored.ndim == 1 and not bias.zero_point.any()
    wanted = np.float32(source.scale) * weight.scale
    assert bias.scale.tobytes() == wanted.astype(np.float32).tobytes()
    return bias.dequantize(stored)


@pytest.mark.parametrize("net_name", ["mobile", "branches", "several_readers", "decoder"])
def test_every_bias_has_the_product_scale(trial, models, scheme, net_name):
    made = trial(models[net_name]())
    checked = 0
    for node in made.quantize(scheme).graph:
        if node.op_type in ("Conv", "ConvTranspose", "Gemm") and len(node.inputs) > 2:
            check(node)
            checked += 1
    assert checked > 0


def test_a_demanded_bias_is_added(net, trial, android, apple):
    n = net()
    made = trial(n.model(n.conv(n.input("x", 1, 2, 4, 4), 2, 3, bias=False, name="y")))
    assert not check(node_of(made.quantize(android), "Conv")).any()
    assert len(node_of(made.quantize(apple), "Conv").inputs) == 2


@pytest.mark.parametrize("shape", [(), (1,), (5,), (1, 5)])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 3.0), (2.0, 0.0)])
def test_gemm_factors_and_bias_shapes(net, trial, scheme, shape, alpha, beta):
    n = net()
    weight = n.random.normal(0, 1, (8, 5)).astype(np.float32)
    bias = n.random.normal(0, 1, shape).astype(np.float32)
    y = n.op("Gemm", n.input("x", 4, 8), n.const(weight), n.const(bias), name="y", alpha=alpha,
             beta=beta)  # fmt: skip
    made = trial(n.model(y))
    model = made.quantize(scheme)
    node = node_of(model, "Gemm")
    assert "alpha" not in node.attributes and "beta" not in node.attributes
    assert np.allclose(check(node), np.broadcast_to((bias * beta).ravel(), (5,)), atol=1e-3)
    assert made.sqnr(model) > 25


def test_a_bias_that_dwarfs_its_weights_fits_int32(net, trial, scheme):
    """A channel that batch normalization all but killed: the weight scale grows, not the error."""
    n = net()
    weight = n.random.normal(0, 1, (3, 2, 1, 1)).astype(np.float32)
    weight[1] *= 1e-18
    bias = np.float32([0.5, 100.0, -0.25])
    y = n.op("Conv", n.input("x", 1, 2, 4, 4), n.const(weight), n.const(bias), name="y")
    made = trial(n.model(y))
    model = made.quantize(scheme)
    node = node_of(model, "Conv")
    assert np.allclose(check(node), bias, rtol=1e-3, atol=1e-3)
    _, stored = operand(node, 2)
    assert np.abs(stored.astype(np.int64)).max() <= 2**30 + 2**8
    assert made.sqnr(model) > 30


def test_a_dead_channel_keeps_a_precise_bias(net, trial, scheme):
    n = net()
    weight = n.random.normal(0, 0.01, (3, 2, 1, 1)).astype(np.float32)
    weight[1] = 0.0
    bias = np.float32([0.01, 0.012345, -0.01])
    y = n.op("Conv", n.input("x", 1, 2, 4, 4), n.const(weight), n.const(bias), name="y")
    model = trial(n.model(y)).quantize(scheme)
    found = check(node_of(model, "Conv"))
    assert np.allclose(found, bias, atol=1e-5)


def test_weights_that_are_all_zero_are_accepted(net, trial, scheme):
    n = net()
    weight = n.const(np.zeros((3, 2, 1, 1), np.float32))
    x = n.input("x", 1, 2, 4, 4)
    made = trial(n.model(n.op("Conv", x, weight, n.const(np.float32([1, 2, 3])), name="y")))
    assert made.sqnr(made.quantize(scheme)) > 30


def test_one_weight_with_two_inputs_and_biases(net, trial, scheme):
    n = net()
    weight = n.const(n.random.normal(0, 1, (2, 2, 1, 1)).astype(np.float32))
    x = n.input("x", 1, 2, 4, 4)
    first = n.op("Conv", x, weight, n.const(np.float32([0.1, 0.2])), name="first")
    large = n.op("Mul", first, n.const(np.float32(50)))
    made = trial(n.model(n.op("Conv", large, weight, n.const(np.float32([1, 1])), name="y")))
    model = made.quantize(scheme)
    for node in model.graph:
        if node.op_type == "Conv":
            check(node)
    assert made.sqnr(model) > 25


def test_weights_at_the_edge_of_float32(net, trial, scheme):
    n = net()
    weight = n.random.normal(0, 1, (3, 2, 1, 1)).astype(np.float32)
    weight[1] = np.float32(1e-40)
    x = n.input("x", 1, 2, 4, 4)
    made = trial(n.model(n.op("Conv", x, n.const(weight), name="y")))
    model = made.quantize(scheme)
    found, _ = operand(node_of(model, "Conv"), 1)
    assert found.scale.min() > 1e-4 and found.scale.max() < 0.1
    assert made.sqnr(model) > 30
