"""Pooling against ONNX Runtime, through the saved package."""

from __future__ import annotations

import pytest

IMAGE = (1, 3, 11, 10)
WINDOWS = {
    "plain": (IMAGE, {"kernel_shape": [2, 2]}),
    "stride": (IMAGE, {"kernel_shape": [3, 3], "strides": [2, 2]}),
    "pads": (IMAGE, {"kernel_shape": [3, 3], "strides": [2, 1], "pads": [1, 0, 1, 2]}),
    "ceil": (IMAGE, {"kernel_shape": [3, 2], "strides": [2, 3], "ceil_mode": 1}),
    "ceil and pads": (
        IMAGE,
        {"kernel_shape": [3, 3], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    ),
    "ceil, last window in the padding": (
        (1, 2, 5, 5),
        {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    ),
    "same upper": (IMAGE, {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "same lower": (IMAGE, {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    "one axis": ((1, 2, 13), {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    "three axes": ((1, 2, 6, 5, 7), {"kernel_shape": [2, 3, 2], "strides": [2, 1, 2]}),
}


@pytest.mark.parametrize("case", WINDOWS.values(), ids=WINDOWS.keys())
def test_max_pool(node_matches_ort, case):
    node_matches_ort("MaxPool", [case[0]], case[1])


@pytest.mark.parametrize("count_include_pad", [0, 1])
@pytest.mark.parametrize("case", WINDOWS.values(), ids=WINDOWS.keys())
def test_average_pool(node_matches_ort, case, count_include_pad):
    node_matches_ort("AveragePool", [case[0]], {**case[1], "count_include_pad": count_include_pad})


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(1, 3, 7), (1, 3, 7, 5), (1, 3, 4, 5, 2)])
def test_global_pools(node_matches_ort, op_type, shape):
    node_matches_ort(op_type, [shape])
