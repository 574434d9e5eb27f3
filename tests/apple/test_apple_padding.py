"""Pad in all modes, along all axes and of all types, against ONNX Runtime, through the package."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from edgewise.errors import UnsupportedOperator
from edgewise.targets.apple import TARGET

SHAPE = (2, 3, 4, 5)
ALL = np.array([1, 2, 0, 1, 1, 0, 2, 3], np.int64)
LAST = np.array([2, 1, 1, 3], np.int64)
LAST_AXES = np.array([2, 3], np.int64)
MODES = ["constant", "edge", "reflect", "wrap"]
TYPES = [np.float32, np.int64, np.int32, np.uint8, np.int8, np.bool_]


def numbers(dtype, shape=SHAPE):
    """int32 ones beyond what floats hold."""
    counted = np.arange(np.prod(shape)).reshape(shape)
    large = np.dtype(dtype).itemsize >= 4 and np.dtype(dtype).kind == "i"
    return (counted % 7 * (100_000_001 if large else 1)).astype(dtype)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", TYPES)
def test_all_axes(node_matches_ort, mode, dtype):
    pads = np.minimum(ALL, 1) if mode != "constant" else ALL
    node_matches_ort("Pad", [numbers(dtype), pads], {"mode": mode})


@pytest.mark.parametrize("mode", MODES)
def test_the_last_axes(node_matches_ort, mode):
    node_matches_ort("Pad", [SHAPE, LAST, None, LAST_AXES], {"mode": mode})


@pytest.mark.parametrize("mode", ["edge", "wrap"])
def test_by_more_than_the_axis_is_long(node_matches_ort, mode):
    pads = np.array([9, 0, 11, 7], np.int64)
    node_matches_ort("Pad", [SHAPE, pads, None, LAST_AXES], {"mode": mode})


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_what_is_left_where_all_is_cropped(node_matches_ort, dtype):
    pads, value = np.array([1, -4, 0, 2], np.int64), np.array(5).astype(dtype)
    node_matches_ort("Pad", [numbers(dtype), pads, value, np.array([0, 2])])


@pytest.mark.parametrize("mode", MODES)
def test_negative_amounts_crop(node_matches_ort, mode):
    pads = np.array([-1, 2, 1, -2], np.int64)
    node_matches_ort("Pad", [SHAPE, pads, None, LAST_AXES], {"mode": mode})


@pytest.mark.parametrize("dtype", TYPES)
def test_a_value(node_matches_ort, dtype):
    node_matches_ort("Pad", [numbers(dtype), ALL, np.array(1, dtype)])


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_a_computed_value(make, matches_ort, dtype):
    feeds = {"x": numbers(dtype), "v": np.array([3], dtype)}
    nodes = [
        helper.make_node("Squeeze", ["v"], ["value"]),
        helper.make_node("Pad", ["x", "pads", "value"], ["y"]),
    ]
    matches_ort(make.build_model(nodes, feeds, ["y"], {"pads": ALL}), feeds)


def test_every_rank(node_matches_ort):
    for rank in range(1, 6):
        for mode in MODES:
            pads = np.ones(2 * rank, np.int64)
            node_matches_ort("Pad", [(2,) * rank, pads], {"mode": mode})


def test_nothing_left_of_an_axis_is_refused(make, tmp_path):
    node = make.node("Pad", [SHAPE, np.array([-5, 0, 3, 0], np.int64), None, LAST_AXES], {})
    with pytest.raises(UnsupportedOperator, match="leave nothing of an axis"):
        TARGET.emit(node.model(), tmp_path)
