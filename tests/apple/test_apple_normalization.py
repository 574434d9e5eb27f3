"""Normalization layers against ONNX Runtime, through the saved package."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from edgewise.targets.apple import TARGET

VARIANCE = np.array([0.5, 1.5, 2.0], np.float32)


@pytest.mark.parametrize("shape", [(2, 3), (1, 3, 5), (1, 3, 5, 4), (1, 3, 2, 3, 4)])
def test_batch_normalization(node_matches_ort, shape):
    operands = [shape, (3,), (3,), (3,), VARIANCE]
    node_matches_ort("BatchNormalization", operands, {"epsilon": 1e-3})


@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 3, 5, 4), (1, 3, 4, 2, 3)])
def test_instance_normalization(node_matches_ort, shape):
    node_matches_ort("InstanceNormalization", [shape, (3,), (3,)], atol=1e-4)


@pytest.mark.parametrize(
    ("axis", "parameter"), [(-1, (4,)), (1, (3, 4)), (-1, (1,))], ids=["last", "two", "scalar"]
)
def test_layer_normalization(node_matches_ort, axis, parameter):
    operands = [(2, 3, 4), parameter, parameter]
    node_matches_ort("LayerNormalization", operands, {"axis": axis}, atol=1e-4)


def test_layer_normalization_without_shift(node_matches_ort):
    node_matches_ort("LayerNormalization", [(2, 3, 4), (4,)], atol=1e-4)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_normalization(node_matches_ort, groups):
    operands = [(1, 6, 4, 5), (6,), (6,)]
    node_matches_ort("GroupNormalization", operands, {"num_groups": groups}, atol=1e-4)


def test_local_response_normalization(node_matches_ort):
    attributes = {"size": 3, "alpha": 0.02, "beta": 0.7, "bias": 1.5}
    node_matches_ort("LRN", [(1, 7, 4, 5)], attributes)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("axis", [-1, 1])
def test_lp_normalization(node_matches_ort, order, axis):
    node_matches_ort("LpNormalization", [(2, 3, 4)], {"p": order, "axis": axis})


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_windows_of_channels(make, tmp_path, size):
    """Even windows have no form of MIL's own. By the formula of the specification: ONNX Runtime
    refuses them, and ONNX's reference computes as many channels as there are images."""
    node = make.node("LRN", [(1, 7, 4, 5)], {"size": size, "alpha": 0.5, "beta": 0.75})
    channels, before, squares = 7, (size - 1) // 2, np.square(node.x)
    energy = [
        squares[:, max(c - before, 0) : c - before + size].sum(axis=1) for c in range(channels)
    ]
    expected = node.x / (1 + 0.5 / size * np.stack(energy, axis=1)) ** 0.75
    result = TARGET.open(TARGET.emit(node.model(), tmp_path).path).run({"x": node.x})["y0"]
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_mean_and_deviation_of_a_layer(node_matches_ort, axis):
    operands = [(2, 3, 4), (2, 3, 4)[axis:], (2, 3, 4)[axis:]]
    node_matches_ort("LayerNormalization", operands, {"axis": axis}, outputs=3, atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_root_mean_square(node_matches_ort, axis):
    shape = (2, 3, 4)
    attributes = {"axis": axis, "epsilon": 1e-3}
    node_matches_ort("RMSNormalization", [shape, shape[axis:]], attributes, opset=23, atol=1e-5)


PARAMETERS = {
    "BatchNormalization": ((2, 3, 4), [(3,), (3,), (3,), (3,)], {}),
    "InstanceNormalization": ((2, 3, 4, 2, 2), [(3,), (3,)], {}),
    "GroupNormalization": ((1, 6, 4), [(6,), (6,)], {"num_groups": 3}),
    "LayerNormalization": ((2, 3, 4), [(3, 4), (4,)], {"axis": 1}),
}


@pytest.mark.parametrize("op_type", PARAMETERS)
def test_parameters_computed_at_run_time(make, matches_ort, op_type):
    shape, parameters, attributes = PARAMETERS[op_type]
    names = [f"p{index}" for index in range(len(parameters))]
    feeds = {"x": make.random(*shape)}
    for seed, (name, size) in enumerate(zip(names, parameters, strict=True), start=1):
        feeds[name] = make.random(*size, seed=seed, low=0.5, high=2.0)
    nodes = [helper.make_node(op_type, ["x", *names], ["y"], **attributes)]
    matches_ort(make.build_model(nodes, feeds, ["y"]), feeds, atol=1e-4)


def test_a_scale_for_each_group(node_matches_ort):
    """As up to opset 20; ONNX Runtime computes both."""
    operands = [(1, 6, 4, 5), (3,), (3,)]
    node_matches_ort("GroupNormalization", operands, {"num_groups": 3}, opset=20, atol=1e-4)


def test_large_numbers_do_not_overflow_in_fp16(make, matches_ort):
    """The squares do; MIL's `layer_norm` takes them by itself."""
    x = make.random(1, 4, 64, low=300, high=900)
    nodes = [helper.make_node("RMSNormalization", ["x", "w"], ["y"])]
    model = make.build_model(nodes, {"x": x}, ["y"], {"w": make.random(64, seed=1)}, opset=23)
    matches_ort(model, {"x": x}, precision="fp16", atol=2e-2)
