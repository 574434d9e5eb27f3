"""Bias correction: quantized layers give the mean of float ones again."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.calibration import Recipe, collect_statistics, quantize
from edgewise.calibration.repairs import RepairInput, apply_repairs
from edgewise.calibration.repairs.bias_correction import correct_biases
from edgewise.graph import OrtSession


def coarse(net_class, bias=True):
    """Convolutions whose rows hold one weight so large that the others round badly, and all inputs
    positive, so that their errors add up."""
    net = net_class(4)
    x = net.op("Relu", net.conv(net.input("x", 1, 3, 8, 8), 3, 16))
    for width in (16, 8):
        weight = net.random.normal(0.02, 0.02, (width, 16, 1, 1)).astype(np.float32)
        weight[:, 0] = 8.0
        inputs = [x, net.const(weight)]
        if bias:
            inputs.append(net.const(np.zeros(width, np.float32)))
        x = net.op("Relu", net.op("Conv", *inputs, name=f"coarse_{width}"))
    return net.model(net.op("GlobalAveragePool", x, name="pooled"))


def shift(model, quantized, source):
    """Largest difference of the means of the outputs, relative to the largest output."""
    one, two = OrtSession(model), OrtSession(quantized)
    wanted = np.mean([one.run(sample.feeds)["pooled"] for sample in source], axis=0)
    found = np.mean([two.run(sample.feeds)["pooled"] for sample in source], axis=0)
    return float(np.abs(wanted - found).max() / np.abs(wanted).max())


@pytest.mark.parametrize("bias", [True, False])
def test_means_come_back(net_class, source_of, scheme, bias):
    model = coarse(net_class, bias)
    source = source_of(model, count=16)
    statistics = collect_statistics(model, source)
    given = RepairInput(source, statistics, scheme, Recipe())
    applied = apply_repairs(model, ["bias_correction"], given)
    before = shift(model, quantize(model, statistics, scheme), source)
    after = shift(model, quantize(applied.model, applied.statistics, scheme), source)
    assert after < 0.5 * before
    assert applied.statistics.tensors == statistics.tensors


def test_a_layer_is_not_blamed_for_those_before_it(net_class, source_of, android):
    """The second layer's weights are exact in int8: it only hands on what the first one shifts."""
    net = net_class(4)
    x = net.op("Relu", net.input("x", 1, 8, 8, 8))
    first = net.random.normal(0.02, 0.02, (8, 8, 1, 1)).astype(np.float32)
    first[:, 0] = 8.0
    second = np.ones((8, 8, 1, 1), np.float32)
    biases = [net.const(np.zeros(8, np.float32)) for _ in range(2)]
    x = net.op("Relu", net.op("Conv", x, net.const(first), biases[0], name="first"))
    model = net.model(net.op("Conv", x, net.const(second), biases[1], name="second"))
    source = source_of(model, count=24)
    given = RepairInput(source, collect_statistics(model, source), android, Recipe())
    done = correct_biases(model, given)
    moved = {n.name: np.abs(n.inputs[2].const_value.numpy()).max()
             for n in done.model.graph if n.op_type == "Conv"}  # fmt: skip
    plain = OrtSession(model)
    quantized = OrtSession(quantize(model, given.statistics, android))
    outputs = [(plain.run(s.feeds), quantized.run(s.feeds)) for s in source]
    handed_on = np.mean([one["second"] - two["second"] for one, two in outputs], axis=(0, 1, 3, 4))
    assert moved["n_first"] > 0.01
    assert moved["n_second"] < 0.5 * np.abs(handed_on).max()


def test_a_product_with_a_sum_behind_it_is_corrected(net_class, source_of, scheme):
    net = net_class(1)
    x = net.op("Relu", net.input("x", 1, 6, 8))
    weight = net.random.normal(0.02, 0.02, (8, 12)).astype(np.float32)
    weight[0] = 8.0
    product = net.op("MatMul", x, net.const(weight), name="product")
    model = net.model(net.op("Add", product, net.const(np.zeros(12, np.float32)), name="pooled"))
    source = source_of(model, count=32)
    statistics = collect_statistics(model, source)
    done = correct_biases(model, RepairInput(source, statistics, scheme, Recipe()))
    assert done.changed == ("n_pooled",) and not done.moves_activations
    add = next(node for node in done.model.graph if node.op_type == "Add")
    bias = add.inputs[1].const_value.numpy()
    quantized = OrtSession(quantize(model, statistics, scheme))
    plain = OrtSession(model)
    gone = np.mean(
        [plain.run(s.feeds)["pooled"] - quantized.run(s.feeds)["pooled"] for s in source],
        axis=(0, 1, 2),
    )
    assert np.corrcoef(bias, gone)[0, 1] > 0.9


def test_a_product_without_a_sum_declines(net_class, source_of, android):
    net = net_class()
    weight = net.const(net.random.normal(0, 1, (8, 4)).astype(np.float32))
    model = net.model(net.op("MatMul", net.input("x", 1, 6, 8), weight))
    source = source_of(model)
    given = RepairInput(source, collect_statistics(model, source), android, Recipe())
    done = correct_biases(model, given)
    assert done.model is model and "no constant is added" in done.findings[0].message
