"""What is quantized, as what, and what stays float."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.calibration import quantize_with_findings
from edgewise.graph import constant, quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE


def node_named(model, name):
    return next(node for node in model.graph if node.name == name)


def operand(model, name, index):
    """The DequantizeLinear that feeds an input of a node."""
    producer = node_named(model, name).inputs[index].producer()
    assert producer is not None and producer.op_type == DEQUANTIZE
    return producer


def test_graph_inputs_and_outputs_are_quantized(trial, models, scheme):
    model = trial(models["mobile"]()).quantize(scheme)
    assert [use.node.op_type for use in model.graph.inputs[0].uses()] == [QUANTIZE]
    assert model.graph.outputs[0].producer().op_type == DEQUANTIZE


@pytest.mark.parametrize(
    ("net_name", "node", "axis"),
    [
        ("mobile", "n_stem", 0),
        ("mobile", "n_gemm_9", 0),  # transB: (N, K)
        ("several_readers", "n_product", 1),
        ("decoder", "n_up", 1),
        ("decoder", "n_grouped", None),
    ],
)
def test_weights_are_int8_within_127_along_the_output_channel(
    trial, models, scheme, net_name, node, axis
):
    made = trial(models[net_name]())
    if not any(n.name == node for n in made.model.graph):
        node = next(n.name for n in made.model.graph if n.op_type == "Gemm")
    dequantize = operand(made.quantize(scheme), node, 1)
    found, stored = quantization_of(dequantize), constant(dequantize.inputs[0])
    assert found.axis == axis
    assert stored.dtype == np.int8 and np.abs(stored.astype(int)).max() == 127
    assert stored.min() >= -127 and not found.zero_point.any()
    original = next(n for n in made.model.graph if n.name == node)
    error = np.abs(found.dequantize(stored) - constant(original.inputs[1]))
    assert error.max() <= found.scale.max() * 0.5001


def test_per_tensor_weights_where_the_scheme_asks(trial, models, android):
    import dataclasses

    plain = dataclasses.replace(android.weight, granularity="per_tensor")
    model = trial(models["mobile"]()).quantize(dataclasses.replace(android, weight=plain))
    assert quantization_of(operand(model, "n_stem", 1)).per_tensor


@pytest.mark.parametrize("shape", [(3, 8, 5), (8,)])
def test_matmul_weights_of_other_ranks_take_one_scale(net, trial, scheme, shape):
    n = net()
    x = n.input("x", 3, 4, 8)
    weight = n.const(n.random.normal(0, 1, shape).astype(np.float32))
    model = trial(n.model(n.op("MatMul", x, weight, name="y"))).quantize(scheme)
    assert quantization_of(operand(model, "n_y", 1)).per_tensor


def test_a_matmul_of_two_activations_is_quantized_as_activations(net, trial, scheme):
    n = net()
    x = n.input("x", 2, 4, 8)
    made = trial(n.model(n.op("MatMul", x, n.op("Transpose", x, perm=[0, 2, 1]), name="y")))
    model = made.quantize(scheme)
    for index in (0, 1):
        found = quantization_of(operand(model, "n_y", index))
        assert found.per_tensor and found.zero_point.dtype == np.int8


def test_constant_operands_are_activations_with_their_own_range(net, trial, scheme):
    n = net()
    x = n.input("x", 1, 4, 3, 3)
    vector = np.linspace(0, 10, 4, dtype=np.float32).reshape(4, 1, 1)
    model = trial(n.model(n.op("Add", x, n.const(vector), name="y"))).quantize(scheme)
    dequantize = operand(model, "n_y", 1)
    found = quantization_of(dequantize)
    levels = 127 if scheme.activation.symmetric else 255
    assert found.per_tensor and found.scale == np.float32(10 / levels)
    assert np.allclose(found.dequantize(constant(dequantize.inputs[0])), vector, atol=0.05)


def test_a_constant_with_two_parts_is_copied(net, trial, scheme):
    """One array is a Conv bias, an Add operand and the operand of a float operator."""
    n = net()
    x = n.input("x", 1, 4, 3, 3)
    both = n.const(np.float32([1, -2, 3, -4]).reshape(4), name="both")
    weight = n.const(n.random.normal(0, 1, (4, 4, 1, 1)).astype(np.float32))
    one = n.op("Conv", x, weight, both, name="one")
    two = n.op("Conv", one, weight, both, name="two")
    pooled = n.op("ReduceMean", two, n.const(np.int64([2, 3])), keepdims=0)
    added = n.op("Add", pooled, both, name="added")
    made = trial(n.model(n.op("Pow", n.op("Abs", added), n.op("Abs", both), name="y")))
    model = made.quantize(scheme)
    biases = [operand(model, f"n_{name}", 2) for name in ("one", "two")]
    assert all(constant(bias.inputs[0]).dtype == np.int32 for bias in biases)
    assert constant(operand(model, "n_added", 1).inputs[0]).dtype == np.int8
    weights = [operand(model, f"n_{name}", 1).inputs[0] for name in ("one", "two")]
    assert weights[0] is weights[1]  # a weight that two convolutions share is stored once
    assert made.sqnr(model) > 20


def test_what_cannot_be_quantized_is_told(net, trial, scheme):
    n = net()
    x = n.input("x", 1, 4, 3, 3)
    weight = n.input("w", 4, 4, 1, 1)
    free = n.op("Conv", x, weight, name="free")
    biased = n.op("Conv", x, n.const(np.ones((4, 4, 1, 1), np.float32)), n.input("b", 4), name="c")
    wide = n.op("Gemm", n.input("m", 2, 4), n.const(np.ones((4, 3), np.float32)),
                n.const(np.arange(6, dtype=np.float32).reshape(2, 3)), name="wide")  # fmt: skip
    endless = n.op("Div", x, n.const(np.float32([np.inf])), name="endless")
    good = n.op("Add", free, biased, name="good")
    made = trial(n.model(good, wide, n.op("Tanh", n.conv(x, 4, 4)), endless))
    result = quantize_with_findings(made.model, made.statistics, scheme)
    told = {finding.node: finding.message for finding in result.findings}
    assert "weights are not constant" in told["n_free"]
    assert "bias is not constant" in told["n_c"]
    assert "not one value per output channel" in told["n_wide"]
    assert "is not finite" in told["n_endless"]
    assert "n_good" not in told


def test_data_movers_between_float_operators_stay_float_silently(net, trial, scheme):
    n = net()
    x = n.input("x", 1, 4, 4, 4)
    first = n.op("Erf", n.conv(x, 4, 4), name="first")
    flat = n.op("Flatten", first, name="flat")
    moved = n.op("Transpose", flat, name="moved", perm=[1, 0])
    made = trial(n.model(n.op("Erf", moved, name="y")))
    result = quantize_with_findings(made.model, made.statistics, scheme)
    for name in ("n_flat", "n_moved"):
        assert node_named(result.model, name).inputs[0].producer().op_type != DEQUANTIZE
    assert {finding.node for finding in result.findings} == {"n_first", "n_y"}


def test_data_movers_beside_a_quantized_operator_are_quantized(net, trial, scheme):
    n = net()
    x = n.input("x", 1, 4, 4, 4)
    moved = n.op("Transpose", n.op("Erf", x), name="moved", perm=[0, 1, 3, 2])
    model = trial(n.model(n.conv(moved, 4, 4, name="y"))).quantize(scheme)
    assert operand(model, "n_moved", 0) is not None


@pytest.mark.parametrize("kind", ["Relu", "Transpose", "MaxPool", "Sigmoid"])
def test_a_lone_operator_is_quantized_end_to_end(net, trial, scheme, kind):
    n = net()
    attributes = {"kernel_shape": [2, 2]} if kind == "MaxPool" else {}
    made = trial(n.model(n.op(kind, n.input("x", 1, 2, 4, 4), name="y", **attributes)))
    model = made.quantize(scheme)
    assert [node.op_type for node in model.graph] == [QUANTIZE, DEQUANTIZE, kind, QUANTIZE,
                                                      DEQUANTIZE]  # fmt: skip
    assert made.sqnr(model) > 20


def test_nodes_without_names_are_quantized(net, trial, scheme):
    n = net()
    x = n.input("x", 1, 2, 4, 4)
    made = n.model(n.op("Add", n.op("Sigmoid", n.conv(x, 2, 2)), x, name="y"))
    for node in made.graph:
        node.name = None
    result = quantize_with_findings(made, trial(made).statistics, scheme)
    assert not result.findings
