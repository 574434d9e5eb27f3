"""Normalization layers against ONNX Runtime, through the saved package."""

from __future__ import annotations

import numpy as np
import pytest

VARIANCE = np.array([0.5, 1.5, 2.0], np.float32)


@pytest.mark.parametrize("shape", [(2, 3), (1, 3, 5), (1, 3, 5, 4), (1, 3, 2, 3, 4)])
def test_batch_normalization(node_matches_ort, shape):
    operands = [shape, (3,), (3,), (3,), VARIANCE]
    node_matches_ort("BatchNormalization", operands, {"epsilon": 1e-3})


@pytest.mark.parametrize("shape", [(1, 3, 5), (1, 3, 5, 4)])
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
