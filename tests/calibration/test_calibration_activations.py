"""Relu and Clip: folded, fused, or standing alone."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.graph import OrtSession, quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE


def kinds(model):
    return [node.op_type for node in model.graph if node.op_type not in (QUANTIZE, DEQUANTIZE)]


def readers(value):
    return [use.node.op_type for use in value.uses()]


def chain(net, *activations, shape=(1, 2, 6, 6)):
    """Conv followed by activations given as (low, high) or an operator name."""
    n = net()
    value = n.conv(n.input("x", *shape), 2, 4, name="conv")
    for index, activation in enumerate(activations):
        name = f"act{index}"
        value = (
            n.op(activation, value, name=name)
            if isinstance(activation, str)
            else n.clip(value, *activation, name=name)
        )
    return n, value


@pytest.mark.parametrize("activation", ["Relu", (0, 6), (0, 0.1), (-1, 1)])
def test_an_enforced_activation_folds(net, trial, android, activation):
    n, y = chain(net, activation)
    made = trial(n.model(y), spread=4.0)
    model = made.quantize(android)
    assert kinds(model) == ["Conv"]
    assert made.sqnr(model) > 25


@pytest.mark.parametrize("activation", ["Relu", (0, 6), (-1, 1)])
def test_folding_changes_at_most_one_step(net, trial, android, activation):
    """Inputs far beyond calibration: saturation must clamp as the activation does."""
    n, y = chain(net, activation)
    made = trial(n.model(y), spread=4.0)
    model = made.quantize(android)
    step = float(quantization_of(model.graph.outputs[0].producer()).scale)
    feeds = made.source.samples[0]
    low, high = (0, np.inf) if activation == "Relu" else activation
    for factor in (1.0, 100.0):
        found = OrtSession(model).run({"x": feeds["x"] * np.float32(factor)})[y]
        assert found.min() >= low - step and found.max() <= high + step


def test_clip_whose_calibrated_maximum_is_below_six_folds(net, trial, android):
    n, y = chain(net, (0, 6))
    made = trial(n.model(y), spread=0.1)
    assert made.statistics.tensors[y].maximum < 3
    assert kinds(made.quantize(android)) == ["Conv"]


def test_two_activations_in_a_row_fold_together(net, trial, android):
    n, y = chain(net, "Relu", (-3, 0.5))
    made = trial(n.model(y), spread=3.0)
    model = made.quantize(android)
    assert kinds(model) == ["Conv"]
    assert made.sqnr(model) > 30


def test_an_activation_with_a_wider_group_is_fused_not_folded(net, trial, android):
    """Relu into a Concat whose other part is negative: the shared range cannot stand for Relu."""
    n, y = chain(net, "Relu")
    other = n.op("Mul", "x", n.const(np.float32(3)), name="other")
    made = trial(n.model(n.op("Concat", y, other, name="joined", axis=1)))
    model = made.quantize(android)
    assert "Relu" in kinds(model)
    conv = next(node for node in model.graph if node.op_type == "Conv")
    assert readers(conv.outputs[0]) == ["Relu"]
    assert made.sqnr(model) > 25


def test_a_clip_that_no_kernel_fuses_stands_alone_in_a_folding_scheme(net, trial, android):
    n, y = chain(net, (0, 2))
    other = n.op("Mul", "x", n.const(np.float32(3)), name="other")
    made = trial(n.model(n.op("Concat", y, other, name="joined", axis=1)), spread=3.0)
    model = made.quantize(android)
    conv = next(node for node in model.graph if node.op_type == "Conv")
    assert "Clip" in kinds(model) and readers(conv.outputs[0]) == [QUANTIZE]
    assert made.sqnr(model) > 20


def test_an_activation_behind_a_shared_reader_stands_alone(trial, models, scheme):
    """The convolution is read by Relu and by Add: nothing may saturate it at zero."""
    made = trial(models["several_readers"]())
    model = made.quantize(scheme)
    assert kinds(model).count("Relu") == 1
    shared = next(node for node in model.graph if node.name == "n_shared")
    assert readers(shared.outputs[0]) == [QUANTIZE]
    scale = quantization_of(next(iter(shared.outputs[0].uses())).node)
    assert (-128 - int(scale.zero_point)) * float(scale.scale) < 0
    assert made.sqnr(model) > 25


def test_an_activation_of_a_graph_output_stands_alone(net, trial, scheme):
    n, y = chain(net, "Relu")
    made = trial(n.model(y, "conv"))
    model = made.quantize(scheme)
    assert kinds(model) == ["Conv", "Relu"]
    assert made.sqnr(model) > 30


@pytest.mark.parametrize("mover", ["MaxPool", "Transpose", "Sigmoid"])
def test_an_activation_behind_tied_parameters_stands_alone(net, trial, android, mover):
    n = net()
    attributes = {"kernel_shape": [2, 2]} if mover == "MaxPool" else {}
    moved = n.op(mover, n.conv(n.input("x", 1, 2, 6, 6), 2, 4), name="moved", **attributes)
    made = trial(n.model(n.clip(moved, 0.0, 0.3, name="y")))
    model = made.quantize(android)
    assert kinds(model) == ["Conv", mover, "Clip"]
    assert made.sqnr(model) > 20


def test_an_activation_behind_a_float_operator_is_quantized(net, trial, scheme):
    n = net()
    made = trial(n.model(n.op("Relu", n.op("Erf", n.input("x", 1, 8)), name="y")))
    model = made.quantize(scheme)
    assert kinds(model) == ["Erf", "Relu"]
    assert made.sqnr(model) > 30


@pytest.mark.parametrize("producer", ["conv", "Add", "Gemm", "MatMul"])
def test_without_folding_the_tensor_before_the_activation_is_not_quantized(
    net, trial, apple, producer
):
    """quantize -> dequantize -> operator -> activation -> quantize."""
    n = net()
    if producer in ("Gemm", "MatMul"):
        weight = n.const(n.random.normal(0, 1, (8, 4)).astype(np.float32))
        inner = n.op(producer, n.input("x", 2, 8), weight, name="inner")
    elif producer == "Add":
        x = n.input("x", 1, 2, 4, 4)
        inner = n.op("Add", x, n.conv(x, 2, 2), name="inner")
    else:
        inner = n.conv(n.input("x", 1, 2, 4, 4), 2, 2, name="inner")
    made = trial(n.model(n.op("Relu", inner, name="y")))
    model = made.quantize(apple)
    node = next(node for node in model.graph if node.name == "n_inner")
    assert readers(node.outputs[0]) == ["Relu"]
    assert all(value.producer().op_type == DEQUANTIZE for value in node.inputs if value is not None)
    relu = next(node for node in model.graph if node.op_type == "Relu")
    assert readers(relu.outputs[0]) == [QUANTIZE]
    assert made.sqnr(model) > 25


def test_only_one_activation_is_fused(net, trial, apple):
    n, y = chain(net, "Relu", (0, 0.5))
    model = trial(n.model(y)).quantize(apple)
    conv, relu = (next(n for n in model.graph if n.op_type == k) for k in ("Conv", "Relu"))
    assert readers(conv.outputs[0]) == ["Relu"]
    assert readers(relu.outputs[0]) == [QUANTIZE]


def test_fused_activations_follow_the_scheme(net, trial, apple):
    import dataclasses

    n, y = chain(net, "LeakyRelu")
    made = trial(n.model(y))
    conv = next(n for n in made.quantize(apple).graph if n.op_type == "Conv")
    assert readers(conv.outputs[0]) == [QUANTIZE]
    wider = dataclasses.replace(apple, fused_activations=frozenset({"Relu", "LeakyRelu"}))
    conv = next(n for n in made.quantize(wider).graph if n.op_type == "Conv")
    assert readers(conv.outputs[0]) == ["LeakyRelu"]


@pytest.mark.parametrize("producer", ["ReduceMean", "LeakyRelu", "MatMul"])
def test_nothing_is_fused_behind_operators_without_that_kernel(net, trial, apple, producer):
    n = net()
    x = n.input("x", 1, 2, 4, 4)
    operands = {"ReduceMean": [n.const(np.int64([2]))], "LeakyRelu": [], "MatMul": [x]}[producer]
    inner = n.op(producer, x, *operands, name="inner")
    model = trial(n.model(n.op("Relu", inner, name="y"))).quantize(apple)
    node = next(node for node in model.graph if node.name == "n_inner")
    assert readers(node.outputs[0]) == [QUANTIZE]


def test_bounds_that_are_computed_keep_the_activation(net, trial, android):
    n = net()
    value = n.conv(n.input("x", 1, 2, 4, 4), 2, 4)
    made = trial(n.model(n.op("Clip", value, n.const(np.float32(0)), n.input("top"), name="y")))
    assert kinds(made.quantize(android)) == ["Conv", "Clip"]
