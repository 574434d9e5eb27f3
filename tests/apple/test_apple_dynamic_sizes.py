"""Outputs whose size depends on the data: NonZero and Compress."""

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
