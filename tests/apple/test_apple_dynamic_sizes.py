"""Outputs whose size depends on the data: NonZero, Compress and Unique."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgewise.errors import UnsupportedOperator
from edgewise.targets.apple import TARGET


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 1, 5)])
def test_non_zero(node_matches_ort: Any, rng: Any, shape: tuple[int, ...], dtype: Any) -> None:
    node_matches_ort("NonZero", [rng.integers(0, 2, shape).astype(dtype)])


def test_nothing_that_is_not_zero(node_matches_ort: Any) -> None:
    assert node_matches_ort("NonZero", [np.zeros((2, 3), np.float32)])["y0"].shape == (2, 0)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("dtype", [np.float32, np.bool_])
def test_compress(make: Any, matches_ort: Any, rng: Any, axis: int | None, dtype: Any) -> None:
    """A condition may be shorter than the axis."""
    attributes = {} if axis is None else {"axis": axis}
    nodes = [helper.make_node("Compress", ["x", "c"], ["y"], **attributes)]
    feeds = {
        "x": rng.integers(0, 2, (3, 4)).astype(dtype),
        "c": np.array([True, False, True]),
    }
    matches_ort(make.build_model(nodes, feeds, ["y"]), feeds)


def test_such_a_size_in_the_middle_is_refused(make: Any, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["found"]),
        helper.make_node("Transpose", ["found"], ["y"]),
    ]
    model = make.build_model(nodes, {"x": make.random(3, 4)}, ["y"])
    with pytest.raises(UnsupportedOperator, match="only known once the model runs"):
        TARGET.emit(model, tmp_path)


@pytest.mark.parametrize("in_order", [0, 1])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_unique(
    node_matches_ort: Any, rng: Any, dtype: Any, axis: int | None, in_order: int
) -> None:
    attributes = {"sorted": in_order} | ({} if axis is None else {"axis": axis})
    for shape in ((6, 5), (2, 7, 2), (1, 4)):
        x = rng.integers(0, 2 if axis is not None else 9, shape).astype(dtype)
        node_matches_ort("Unique", [x], attributes, outputs=4)


def test_inverse_indices_have_a_known_size(make: Any, matches_ort: Any) -> None:
    nodes = [
        helper.make_node("Unique", ["x"], ["", "", "inverse"]),
        helper.make_node("Gather", ["t", "inverse"], ["y"]),
    ]
    feeds = {"x": np.array([[2.0, -1.0], [2.0, 0.0]], np.float32)}
    matches_ort(make.build_model(nodes, feeds, ["y"], {"t": make.random(4, 2)}), feeds)


def test_too_many_comparisons_are_refused(make: Any, tmp_path: Path) -> None:
    node = helper.make_node("Unique", ["x"], ["y"])
    model = make.build_model([node], {"x": make.random(5000)}, ["y"])
    with pytest.raises(UnsupportedOperator, match="compares 5000 slices"):
        TARGET.emit(model, tmp_path)
