"""The oldest system that a package runs on: found, or checked against what the user demands."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from edgewise.errors import ModelError, UnsupportedOperator, UsageError
from edgewise.graph import OrtSession, prepare
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET
from edgewise.targets.apple.deployment import SYSTEMS, system


def _emit(model, folder, precision="fp32", **options):
    return TARGET.emit(model, folder, precision, options=EmitOptions(options=options))


def _mixed(make):
    """Operators whose MIL operations have gained parameters or types over the years."""
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["a"], pads=[1] * 4),
        helper.make_node("LeakyRelu", ["a"], ["c"], alpha=0.1),
        helper.make_node("Clip", ["c", "low", "high"], ["d"]),
        helper.make_node("BatchNormalization", ["d", "b", "b", "b", "v"], ["e"]),
        helper.make_node("Gather", ["e", "i"], ["f"], axis=2),
        helper.make_node("TopK", ["f", "two"], ["t", "p"], axis=3),
        helper.make_node("ArgMax", ["f"], ["m"], axis=1, keepdims=0),
        helper.make_node("Transpose", ["t"], ["y"], perm=[0, 2, 3, 1]),
    ]
    constants = {
        "k": make.random(4, 3, 3, 3), "b": make.random(4), "v": np.ones(4, np.float32),
        "low": np.float32(-2), "high": np.float32(9), "i": np.array([-1, 0, 2]),
        "two": np.array([2]),
    }  # fmt: skip
    x = make.random(1, 3, 6, 6)
    return make.build_model(nodes, {"x": x}, ["y", "p", "m"], constants), {"x": x}


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_numbers_are_the_same_in_the_operations_of_every_system(make, tmp_path, name, precision):
    model, feeds = _mixed(make)
    artifact = _emit(model, tmp_path, precision, deployment_target=name)
    assert artifact.manifest.options["minimum_deployment_target"] == name
    found = TARGET.open(artifact).run(feeds)
    for output, wanted in OrtSession(prepare(model)).run(feeds).items():
        if precision == "fp32" or output == "y":
            tolerance = 1e-5 if precision == "fp32" else 0.1
            np.testing.assert_allclose(found[output], wanted, rtol=1e-5, atol=tolerance)


def test_without_a_demand_the_oldest_system_that_will_do(make, tmp_path):
    model, _ = _mixed(make)
    options = _emit(model, tmp_path / "old").manifest.options
    assert (options["minimum_deployment_target"], options["needs"]) == ("iOS15", {})
    options = _emit(make.quantized_cnn(), tmp_path / "int8", "w8a8").manifest.options
    assert options["needs"] == {"iOS17": ["w8a8"]}


@pytest.mark.parametrize(
    ("precision", "options", "message"),
    [
        ("w8a8", {"deployment_target": "iOS16"}, "w8a8 needs iOS17: deployment_target is iOS16"),
        ("w8", {"deployment_target": "macOS12"}, "w8 needs iOS16: deployment_target is iOS15"),
        ("w4", {"deployment_target": "iOS17"}, "w4 needs iOS18: deployment_target is iOS17"),
        ("palette6", {"deployment_target": "iOS15"}, "palette6 needs iOS16"),
        ("palette6", {"deployment_target": "iOS17", "group_size": 8}, "group_size needs iOS18"),
    ],
)
def test_a_format_that_the_demanded_system_lacks(make, tmp_path, precision, options, message):
    from edgewise.calibration import quantize_weights

    if precision == "w8a8":
        model = make.quantized_cnn()
    else:
        node = make.node("Gemm", [(1, 64), (64, 64)], {})
        model = quantize_weights(prepare(node.model()), TARGET.scheme(precision, options)).model
    with pytest.raises(ModelError, match=message):
        _emit(model, tmp_path / "out", precision, **options)
    assert list(tmp_path.iterdir()) == []


def test_an_operator_that_the_demanded_system_lacks(make, tmp_path):
    """Weights per block in a model that asks for w8: no operation before iOS 18 has them."""
    constants = {"q": np.ones((32, 8), np.int8), "s": make.random(2, 8, low=0.1)}
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], name="dq", axis=0, block_size=16),
        helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
    ]
    model = make.build_model(nodes, {"x": make.random(2, 32)}, ["y"], constants)
    needs = _emit(model, tmp_path / "free", "w8").manifest.options["needs"]
    assert needs == {"iOS16": ["w8"], "iOS18": ["operator DequantizeLinear of node 'dq'"]}
    with pytest.raises(ModelError, match="DequantizeLinear of node 'dq' needs iOS18"):
        _emit(model, tmp_path / "out", "w8", deployment_target="iOS17")


@pytest.mark.parametrize("options", [{}, {"deployment_target": "iOS15"}])
def test_what_no_system_has_is_refused_for_its_own_reason(make, tmp_path, options):
    node = make.node("RandomNormalLike", [(2, 3)], {})
    with pytest.raises(UnsupportedOperator, match="RandomNormalLike") as caught:
        _emit(node.model(), tmp_path / "out", **options)
    assert "iOS" not in str(caught.value)


def test_names_of_systems():
    assert [system(name) for name in ("iOS16", "macOS13", "macOS26")] == [
        "iOS16", "iOS16", "iOS26",
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"unknown deployment target 'iOS14'.*iOS15"):
        system("iOS14")
