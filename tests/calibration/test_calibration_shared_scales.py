"""Shared-scale operators and prescribed outputs, alone and together."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.calibration.parameters import prescribed
from edgewise.graph import quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE


def parameters(value):
    """(scale, zero_point) of the Q behind or the DQ before a tensor."""
    producer = value.producer()
    if producer is not None and producer.op_type == DEQUANTIZE:
        found = quantization_of(producer)
    else:
        (found,) = [quantization_of(u.node) for u in value.uses() if u.node.op_type == QUANTIZE]
    return float(found.scale), int(found.zero_point)


def node_named(model, name):
    return next(node for node in model.graph if node.name == name)


def around(model, name):
    """Parameters of all float inputs and outputs of a node."""
    node = node_named(model, name)
    floats = [v for v in (*node.inputs, *node.outputs) if v is not None and v.dtype.name == "FLOAT"]
    return [parameters(v) for v in floats if v.const_value is None]


@pytest.mark.parametrize("name", ["n_joined", "n_padded", "n_pooled", "n_bigger"])
def test_one_scale_runs_through_a_chain_of_shared_operators(trial, models, android, name):
    model = trial(models["branches"]()).quantize(android)
    assert len(set(around(model, name))) == 1
    assert around(model, name)[0] == around(model, "n_joined")[0]


@pytest.mark.parametrize("name", ["n_half", "n_moved"])
def test_split_and_transpose_share(trial, models, android, name):
    assert len(set(around(trial(models["decoder"]()).quantize(android), name))) == 1


def test_a_group_covers_the_union_of_its_ranges(net, trial, android):
    n = net()
    x = n.input("x", 1, 2, 4, 4)
    small = n.op("Mul", x, n.const(np.float32(0.01)), name="small")
    large = n.op("Add", x, n.const(np.float32(5.0)), name="large")
    made = trial(n.model(n.op("Concat", small, large, name="y", axis=1)))
    scale, zero_point = parameters(made.quantize(android).graph.outputs[0])
    low = min(made.statistics.tensors[t].minimum for t in ("small", "large"))
    high = max(made.statistics.tensors[t].maximum for t in ("small", "large"))
    assert (-128 - zero_point) * scale == pytest.approx(low, abs=scale)
    assert (127 - zero_point) * scale == pytest.approx(high, abs=scale)


@pytest.mark.parametrize("kind", ["Softmax", "Sigmoid", "Tanh"])
def test_prescribed_outputs_are_exact(net, trial, android, kind):
    n = net()
    made = trial(n.model(n.op(kind, n.conv(n.input("x", 1, 2, 4, 4), 2, 4), name="y")))
    wanted = prescribed(android.fixed_outputs[kind])
    found = parameters(made.quantize(android).graph.outputs[0])
    assert found == (wanted.scale, wanted.zero_point)


def test_a_group_takes_prescribed_parameters_that_fit(net, trial, android):
    n = net()
    x = n.input("x", 1, 2, 4, 4)
    gates = [n.op("Sigmoid", n.conv(x, 2, 2), name=f"gate{i}") for i in range(2)]
    joined = n.op("Concat", *gates, name="joined", axis=1)
    made = trial(n.model(n.op("Flatten", joined, name="y")))
    model = made.quantize(android)
    assert set(around(model, "n_joined") + around(model, "n_y")) == {(1 / 256, -128)}
    assert sum(node.op_type == QUANTIZE for node in model.graph) == 7  # no requantization


def test_a_prescribed_tensor_is_requantized_into_a_wider_group(trial, models, android):
    model = trial(models["branches"]()).quantize(android)
    gate, cell = (node_named(model, f"n_{name}") for name in ("gate", "cell"))
    assert parameters(gate.outputs[0]) == (1 / 256, -128)
    assert parameters(cell.outputs[0]) == (1 / 128, 0)
    assert len(set(around(model, "n_joined"))) == 1
    joined = node_named(model, "n_joined")
    for index, node in enumerate((gate, cell)):
        chain, value = [], joined.inputs[index]
        while value.producer() is not node:
            chain.append(value.producer().op_type)
            value = value.producer().inputs[0]
        assert chain == [DEQUANTIZE, QUANTIZE, DEQUANTIZE, QUANTIZE]
    assert not any(node.op_type == "Identity" for node in model.graph)


def test_a_requantized_tensor_keeps_its_own_parameters_for_other_readers(net, trial, android):
    n = net()
    x = n.input("x", 1, 2, 4, 4)
    gate = n.op("Sigmoid", x, name="gate")
    joined = n.op("Concat", gate, n.op("Mul", x, n.const(np.float32(9))), name="joined", axis=1)
    made = trial(n.model(joined, n.op("Mul", gate, x, name="gated"), gate))
    model = made.quantize(android)
    assert around(model, "n_gated")[0] == (1 / 256, -128)
    assert parameters(model.graph.outputs[2]) == (1 / 256, -128)
    assert len(set(around(model, "n_joined"))) == 1
    assert around(model, "n_joined")[0][0] > 1 / 256
    assert made.sqnr(model) > 30


def test_a_prescribed_tensor_between_two_groups_ties_neither_to_the_other(net, trial, android):
    n = net()
    x = n.input("x", 1, 2, 4, 4)
    gate = n.op("Sigmoid", x, name="gate")
    wide = n.op("Concat", gate, n.op("Mul", x, n.const(np.float32(9))), name="wide", axis=1)
    wider = n.op("Concat", gate, n.op("Mul", x, n.const(np.float32(90))), name="wider", axis=1)
    model = trial(n.model(wide, wider)).quantize(android)
    assert parameters(model.graph.outputs[0])[0] * 5 < parameters(model.graph.outputs[1])[0]


def test_pad_values_and_constants_join_the_group(net, trial, android):
    n = net()
    x = n.input("x", 1, 2, 4, 4)
    pads = n.const(np.int64([0, 0, 1, 1, 0, 0, 1, 1]))
    padded = n.op("Pad", x, pads, n.const(np.float32(-9.0)), name="padded")
    made = trial(n.model(n.op("Max", padded, n.const(np.float32(-8.5)), name="y")))
    model = made.quantize(android)
    pad, top = node_named(model, "n_padded"), node_named(model, "n_y")
    found = {parameters(v) for v in (pad.inputs[0], pad.inputs[2], pad.outputs[0], top.inputs[1])}
    assert len(found) == 1
    assert made.sqnr(model) > 30


def test_schemes_without_shared_operators_keep_free_scales(trial, models, apple):
    model = trial(models["branches"]()).quantize(apple)
    assert len(set(around(model, "n_joined"))) > 1
    assert all(zero_point == 0 for _, zero_point in around(model, "n_joined"))
