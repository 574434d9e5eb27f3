"""`verify` must notice each rule being broken, and accept what is right."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.calibration import QuantParams
from edgewise.calibration.verify import Promise, verify
from edgewise.errors import InternalError
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE


@pytest.fixture
def made(net, trial, android):
    """Conv -> Relu folded -> MaxPool -> Softmax, with its promise."""
    n = net()
    x = n.input("x", 1, 2, 6, 6)
    act = n.op("Relu", n.conv(x, 2, 4, name="conv"), name="act")
    pool = n.op("MaxPool", act, name="pool", kernel_shape=[2, 2])
    model = trial(n.model(n.op("Softmax", pool, name="y", axis=1))).quantize(android)
    names = frozenset({"n_conv", "n_pool", "n_y"})
    promise = Promise(android, names, {"act": (0.0, float("inf"))}, frozenset())
    verify(model, promise)
    return model, promise


def node_named(model, name):
    return next(node for node in model.graph if node.name == name)


def rewrite(value, array):
    value.const_value = ir.tensor(np.asarray(array), name=value.name)


def broken(made, match):
    with pytest.raises(InternalError, match=match):
        verify(*made)


def quantizers(tensor, model):
    """Q and its DQ behind a tensor."""
    quantize = next(n for n in model.graph if n.name == f"{tensor}_QuantizeLinear")
    return quantize, next(iter(quantize.outputs[0].uses())).node


def test_a_lost_node(made):
    model, promise = made
    broken((model, dataclasses.replace(promise, nodes=promise.nodes | {"n_gone"})), "got lost")


def test_a_float_input(made):
    model, _ = made
    conv = node_named(model, "n_conv")
    conv.replace_input_with(0, model.graph.inputs[0])
    broken(made, "'x': .*activation input of n_conv is float|activation input of n_conv is float")


def test_a_float_reader_of_an_output(made):
    model, _ = made
    conv = node_named(model, "n_conv")
    model.graph.append(ir.Node("", "Abs", [conv.outputs[0]]))
    broken(made, "output of n_conv is used in float")


def test_a_wrong_bias_scale(made):
    model, _ = made
    scale = node_named(model, "n_conv").inputs[2].producer().inputs[1]
    rewrite(scale, scale.const_value.numpy() * np.float32(2))
    broken(made, "not s_in \\* s_w")


def test_a_bias_zero_point(made):
    model, _ = made
    zero = node_named(model, "n_conv").inputs[2].producer().inputs[2]
    rewrite(zero, zero.const_value.numpy() + np.int32(1))
    broken(made, "not int32 with zero point 0")


def test_a_missing_bias(made):
    model, _ = made
    node_named(model, "n_conv").resize_inputs(2)
    broken(made, "has no bias")


def test_a_weight_at_the_smallest_integer(made):
    model, _ = made
    stored = node_named(model, "n_conv").inputs[1].producer().inputs[0]
    array = stored.const_value.numpy().copy()
    array.flat[0] = -128
    rewrite(stored, array)
    broken(made, "smallest integer of a narrow range")


def test_a_weight_zero_point(made):
    model, _ = made
    zero = node_named(model, "n_conv").inputs[1].producer().inputs[2]
    rewrite(zero, zero.const_value.numpy() + np.int8(3))
    broken(made, "zero point in a symmetric format")


def test_a_wrong_channel_axis(made):
    model, _ = made
    node_named(model, "n_conv").inputs[1].producer().attributes["axis"] = ir.AttrInt64("axis", 1)
    broken(made, "has channel axis 1, not 0")


def test_shared_parameters_that_differ(made):
    model, _ = made
    for node in quantizers("pool", model):
        scale = ir.Value(
            name=f"{node.name}_other", const_value=ir.tensor(np.float32(0.5), name="other")
        )
        model.graph.register_initializer(scale)
        node.replace_input_with(1, scale)
    broken(made, "inputs and outputs carry different parameters")


def test_a_prescribed_output_that_is_off(made):
    model, promise = made
    fixed = {"Softmax": QuantParams(1 / 255, -128)}
    scheme = dataclasses.replace(promise.scheme, fixed_outputs=fixed)
    broken((model, dataclasses.replace(promise, scheme=scheme)), "Softmax needs")


def test_a_folded_activation_that_nothing_enforces(made):
    model, promise = made
    bounds = {"act": (0.0, 0.001)}
    broken((model, dataclasses.replace(promise, folded=bounds)), "does not stay within")
    missing = {"nothing": (0.0, 1.0)}
    broken((model, dataclasses.replace(promise, folded=missing)), "is missing")


def test_a_symmetric_scheme_with_a_zero_point(made):
    model, promise = made
    number = dataclasses.replace(promise.scheme.activation, symmetric=True)
    scheme = dataclasses.replace(promise.scheme, activation=number)
    broken((model, dataclasses.replace(promise, scheme=scheme)), "zero point in a symmetric")


def test_a_wrong_activation_type(made):
    model, promise = made
    number = dataclasses.replace(promise.scheme.activation, dtype="uint8")
    scheme = dataclasses.replace(promise.scheme, activation=number)
    broken((model, dataclasses.replace(promise, scheme=scheme)), "is int8, not uint8")


def test_q_and_dq_that_disagree(made):
    model, _ = made
    _, dequantize = quantizers("x", model)
    other = ir.Value(name="other", const_value=ir.tensor(np.float32(0.5), name="other"))
    model.graph.register_initializer(other)
    dequantize.replace_input_with(1, other)
    broken(made, "Q and DQ disagree")


def test_a_scale_of_zero(made):
    model, _ = made
    rewrite(quantizers("x", model)[0].inputs[1], np.float32(0))
    broken(made, "not a positive number")


@pytest.mark.parametrize("kind", [QUANTIZE, DEQUANTIZE])
def test_a_vendor_domain(made, kind):
    model, _ = made
    next(node for node in model.graph if node.op_type == kind).domain = "com.microsoft"
    broken(made, "is in domain com.microsoft")
