"""Reductions and positions of extrema against ONNX Runtime, through the saved package."""

from __future__ import annotations

import numpy as np
import pytest

POSITIVE = np.random.default_rng(5).uniform(0.1, 2, (2, 3, 4)).astype(np.float32)
REDUCTIONS = [
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
    "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp",
]  # fmt: skip


@pytest.mark.parametrize("op_type", REDUCTIONS)
@pytest.mark.parametrize("axes", [[1], [0, -1]])
def test_reduction(node_matches_ort, op_type, axes):
    operands = [POSITIVE, np.array(axes, np.int64)]
    node_matches_ort(op_type, operands, {"keepdims": 0}, atol=1e-4)


def test_reduction_to_a_scalar(node_matches_ort):
    results = node_matches_ort("ReduceMean", [POSITIVE], {"keepdims": 0})
    assert results["y0"].shape == ()


@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare"])
def test_reduction_of_a_scalar(node_matches_ort, op_type):
    results = node_matches_ort(op_type, [np.array(-2.5, np.float32)])
    assert results["y0"].shape == ()


def test_reduction_over_no_axes(node_matches_ort):
    none = np.array([], np.int64)
    node_matches_ort("ReduceSum", [POSITIVE, none], {"noop_with_empty_axes": 1})
    node_matches_ort("ReduceSum", [POSITIVE, none], atol=1e-4)


@pytest.mark.parametrize("op_type", REDUCTIONS)
def test_over_no_axes_each_element_is_reduced_by_itself(node_matches_ort, op_type):
    x = POSITIVE if op_type == "ReduceLogSum" else POSITIVE - 1
    node_matches_ort(op_type, [x], {"noop_with_empty_axes": 1})
    if op_type in ("ReduceL1", "ReduceSumSquare", "ReduceMax"):
        node_matches_ort(op_type, [np.array([[-3, 2]], np.int32)], {"noop_with_empty_axes": 1})


def test_axes_as_an_attribute_of_an_old_opset(node_matches_ort):
    node_matches_ort("ReduceMean", [POSITIVE], {"axes": [1, 2]}, opset=13)


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("attributes", [{"axis": 1}, {"axis": -1, "keepdims": 0}])
def test_positions(node_matches_ort, op_type, attributes):
    results = node_matches_ort(op_type, [(2, 3, 4)], attributes)
    assert results["y0"].dtype == np.int64


@pytest.mark.parametrize("largest", [0, 1])
def test_top_k(node_matches_ort, largest):
    node_matches_ort(
        "TopK", [(2, 7), np.array([3], np.int64)], {"largest": largest, "axis": -1}, outputs=2
    )
