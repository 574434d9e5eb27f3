"""Activation functions against ONNX Runtime, through the saved package."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EDGES = np.array(
    [[[-40, -6.5, -3, -1, -1e-3, 0], [1e-3, 0.5, 1, 3, 6.5, 40]]], np.float32
)  # rank 3, saturation on both sides
ACTIVATIONS = {
    "Relu": {},
    "LeakyRelu": {"alpha": 0.3},
    "Sigmoid": {},
    "Tanh": {},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
    "HardSwish": {},
    "Elu": {"alpha": 1.7},
    "Selu": {},
    "Celu": {"alpha": 0.7},
    "Mish": {},
    "Softplus": {},
    "Softsign": {},
    "ThresholdedRelu": {"alpha": 1.0},
}


@pytest.mark.parametrize(("op_type", "attributes"), ACTIVATIONS.items(), ids=ACTIVATIONS.keys())
def test_activation(node_matches_ort, op_type, attributes):
    node_matches_ort(op_type, [EDGES], attributes)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(node_matches_ort, approximate):
    node_matches_ort("Gelu", [EDGES], {"approximate": approximate})


def bound(value: float | None):
    return None if value is None else np.array(value, np.float32)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0, 6),
        (0, None),
        (None, 6),
        (-1.5, 2.5),
        (-2, None),
        (None, None),
        (3, 1),
        (-3.4028235e38, 2),
    ],
)
def test_clip(node_matches_ort, low, high):
    node_matches_ort("Clip", [EDGES, bound(low), bound(high)])


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(low=st.floats(-8, 8, width=32), size=st.floats(0, 8, width=32))
def test_clip_between_any_bounds(node_matches_ort, low, size):
    node_matches_ort("Clip", [EDGES, bound(low), bound(low + size)])


def test_clip_of_integers(node_matches_ort):
    x = np.arange(-5, 6, dtype=np.int32)
    node_matches_ort("Clip", [x, np.array(-2, np.int32), np.array(3, np.int32)])


@pytest.mark.parametrize(
    ("shape", "slope"),
    [
        ((1, 3, 4, 5), (3, 1, 1)),
        ((1, 3, 4, 5), (1,)),
        ((1, 3, 4, 5), (5,)),  # aligned with the last axis, not with the channels
        ((1, 3, 3), (3,)),
        ((2, 6), (6,)),
        ((1, 3, 4), (1, 3, 4)),
    ],
)
def test_prelu(node_matches_ort, shape, slope):
    node_matches_ort("PRelu", [shape, slope])


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
def test_softmax_over_any_axis(node_matches_ort, op_type, axis):
    node_matches_ort(op_type, [(2, 3, 4)], {"axis": axis})


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
def test_softmax_of_an_old_opset_flattens(node_matches_ort, op_type):
    node_matches_ort(op_type, [(2, 3, 4)], {"axis": 1}, opset=11)


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
def test_softmax_of_large_numbers(node_matches_ort, op_type):
    node_matches_ort(op_type, [np.array([[1000, 999, -1000]], np.float32)])
