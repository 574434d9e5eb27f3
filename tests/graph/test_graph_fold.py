"""Folded constants are what ONNX Runtime computes for the nodes that they replace."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgewise.graph import OrtSession, prepare

RANDOM = np.random.default_rng(5)
IMAGE = RANDOM.normal(0, 1, (1, 4, 6, 5)).astype(np.float32)
WEIGHTS = RANDOM.normal(0, 1, (4, 2, 3, 3)).astype(np.float32)
NUMBERS = RANDOM.integers(-5, 6, (3, 4)).astype(np.int32)


def _model(node: Any, constants: dict[str, Any]) -> ir.Model:
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = helper.make_graph(
        [node], "g", [], outputs, [numpy_helper.from_array(v, k) for k, v in constants.items()]
    )
    opsets = [helper.make_opsetid("", 21)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))


@pytest.mark.parametrize(
    ("op_type", "attributes", "constants"),
    [
        ("GlobalMaxPool", {}, {"x": IMAGE[0]}),
        ("GlobalMaxPool", {}, {"x": IMAGE[:, :, None]}),
        ("LRN", {"size": 3, "alpha": 0.4, "bias": 1.1}, {"x": IMAGE}),
        ("LpNormalization", {"axis": -2, "p": 1}, {"x": IMAGE}),
        ("LpPool", {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}, {"x": IMAGE}),
        ("MaxPool", {"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER"}, {"x": IMAGE}),
        ("ConvTranspose", {"strides": [2, 1], "group": 2}, {"x": IMAGE, "w": WEIGHTS}),
        ("ReduceSumSquare", {"keepdims": 0}, {"x": NUMBERS}),
        ("Mean", {}, {"x": IMAGE[:, :1], "z": IMAGE}),
        ("Softsign", {}, {"x": IMAGE}),
        ("GatherElements", {"axis": 1}, {"x": IMAGE[0, 0], "i": np.array([[0, -1, 2], [1, 1, 4]])}),
        ("TopK", {"axis": -2}, {"x": IMAGE, "k": np.array([2])}),
        ("LSTM", {"hidden_size": 2}, {
            "x": IMAGE[0], "w": np.ones((1, 8, 5), np.float32), "r": np.ones((1, 8, 2), np.float32),
        }),
    ],
)  # fmt: skip
def test_folded_node(op_type: str, attributes: dict[str, Any], constants: dict[str, Any]) -> None:
    outputs = {"TopK": ["a", "b"], "LSTM": ["", "h"]}.get(op_type, ["y"])
    model = _model(helper.make_node(op_type, list(constants), outputs, **attributes), constants)
    hub = prepare(model)
    assert not list(hub.graph)
    found, expected = OrtSession(hub).run({}), OrtSession(model).run({})
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_allclose(found[name], array, rtol=1e-6, strict=True)


@pytest.mark.parametrize("op_type", ["ConstantOfShape", "RandomNormalLike", "QuantizeLinear"])
def test_what_is_kept(op_type: str) -> None:
    constants = {
        "ConstantOfShape": {"shape": np.array([64, 32])},
        "RandomNormalLike": {"x": IMAGE},
        "QuantizeLinear": {"x": IMAGE, "s": np.float32(0.1), "z": np.int8(3)},
    }[op_type]
    arrays = {name: np.asarray(value) for name, value in constants.items()}
    hub = prepare(_model(helper.make_node(op_type, list(arrays), ["y"]), arrays))
    assert [node.op_type for node in hub.graph] == [op_type]


def test_small_filled_constants_are_folded() -> None:
    shape = {"shape": np.array([2, 3])}
    hub = prepare(_model(helper.make_node("ConstantOfShape", ["shape"], ["y"]), shape))
    assert not list(hub.graph)
    np.testing.assert_array_equal(OrtSession(hub).run({})["y"], np.zeros((2, 3), np.float32))


def test_what_the_runtime_cannot_compute_stays() -> None:
    node = helper.make_node("LpNormalization", ["x"], ["y"], p=1)
    hub = prepare(_model(node, {"x": IMAGE.astype(ml_dtypes.bfloat16)}))
    assert [node.op_type for node in hub.graph] == ["LpNormalization"]
