"""Pooling against ONNX Runtime, through the saved package."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewise.errors import EdgewiseError
from edgewise.graph import OrtSession, prepare
from edgewise.targets.apple import TARGET

IMAGE = (1, 3, 11, 10)
# fmt: off
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
    "dilated": (IMAGE, {"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [2, 1]}),
    "one axis of two dilated": (IMAGE, {"kernel_shape": [2, 2], "dilations": [1, 4]}),
    "dilated, ceil and pads": (
        IMAGE,
        {"kernel_shape": [3, 3], "dilations": [2, 2], "strides": [3, 2], "pads": [1, 0, 2, 1],
         "ceil_mode": 1},
    ),
    "dilated volume": (
        (1, 2, 6, 5, 7),
        {"kernel_shape": [2, 2, 3], "dilations": [3, 1, 2], "pads": [1, 0, 1, 0, 1, 1]},
    ),
    "three axes": ((1, 2, 6, 5, 7), {"kernel_shape": [2, 3, 2], "strides": [2, 1, 2]}),
}
# fmt: on


@pytest.mark.parametrize("case", WINDOWS.values(), ids=WINDOWS.keys())
def test_max_pool(node_matches_ort, case):
    node_matches_ort("MaxPool", [case[0]], case[1])


@pytest.mark.parametrize("count_include_pad", [0, 1])
@pytest.mark.parametrize("case", WINDOWS.values(), ids=WINDOWS.keys())
def test_average_pool(node_matches_ort, case, count_include_pad):
    node_matches_ort("AveragePool", [case[0]], {**case[1], "count_include_pad": count_include_pad})


@pytest.mark.parametrize("storage_order", [0, 1])
@pytest.mark.parametrize("case", WINDOWS.values(), ids=WINDOWS.keys())
def test_indices_of_the_maxima(node_matches_ort, case, storage_order):
    """Small numbers, so that there are equal ones: the first one counts."""
    x = np.random.default_rng(0).integers(-3, 4, (2, *case[0][1:])).astype(np.float32)
    attributes = {**case[1], "storage_order": storage_order}
    node_matches_ort("MaxPool", [x], attributes, outputs=2)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_integers(node_matches_ort, dtype):
    x = np.random.default_rng(0).integers(np.iinfo(dtype).min, 128, IMAGE).astype(dtype)
    node_matches_ort("MaxPool", [x], WINDOWS["pads"][1])
    node_matches_ort("MaxPool", [x], WINDOWS["dilated"][1], outputs=2)


@pytest.mark.parametrize("power", [1, 2, 3])
@pytest.mark.parametrize("case", ["pads", "dilated", "one axis", "three axes"])
def test_pools_by_other_norms(node_matches_ort, case, power):
    node_matches_ort("LpPool", [WINDOWS[case][0]], {**WINDOWS[case][1], "p": power}, opset=22)
    node_matches_ort("GlobalLpPool", [WINDOWS[case][0]], {"p": power})


@st.composite
def _pools(draw):
    """Shape and attributes of a pool that has no padding beyond its kernel."""
    rank = draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    attributes = {
        "kernel_shape": kernel,
        "strides": [draw(st.integers(1, 3)) for _ in range(rank)],
        "dilations": [draw(st.integers(1, 3)) for _ in range(rank)],
        "pads": [draw(st.integers(0, size - 1)) for size in kernel * 2],
        "ceil_mode": draw(st.integers(0, 1)),
    }
    return (1, 2, *(draw(st.integers(7, 9)) for _ in range(rank))), attributes


@pytest.mark.slow
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(_pools(), st.sampled_from(["MaxPool", "AveragePool", "counted"]))
def test_geometry(make, tmp_path_factory, pool, kind):
    shape, attributes = pool
    op_type = "AveragePool" if kind == "counted" else kind
    if kind == "counted":
        attributes["count_include_pad"] = 1
    node = make.node(op_type, [shape], attributes, 1, 21)
    try:
        artifact = TARGET.emit(node.model(), tmp_path_factory.mktemp("pool"))
    except EdgewiseError as error:  # padding beyond the elements, where runtimes differ
        assert "padding" in str(error)
        return
    expected = OrtSession(prepare(node.model())).run({"x": node.x})["y0"]
    result = TARGET.open(artifact.path).run({"x": node.x})["y0"]
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(1, 3, 7), (1, 3, 7, 5), (1, 3, 4, 5, 2)])
def test_global_pools(node_matches_ort, op_type, shape):
    node_matches_ort(op_type, [shape])


@pytest.mark.parametrize("op_type", ["AveragePool", "MaxPool"])
def test_a_window_beyond_the_whole_input(node_matches_ort, op_type):
    """Global pooling as some networks write it: one window, cut off by ceil_mode."""
    attributes = {"kernel_shape": [40, 7], "strides": [40, 7], "ceil_mode": 1}
    node_matches_ort(op_type, [(1, 2, 3, 5)], attributes)
