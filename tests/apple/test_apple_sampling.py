"""GridSample, AffineGrid, RoiAlign, MaxRoiPool and DeformConv against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper


def _operations(folder: Path) -> set[str]:
    from edgewise.targets.apple._coremltools import ct

    (package,) = (folder / "out").glob("*.mlpackage")
    main = ct.utils.load_spec(str(package)).mlProgram.functions["main"]
    return {op.type for op in main.block_specializations[main.opset].operations}


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_grid_sample(
    make: Any, matches_ort: Any, tmp_path: Path, mode: str, aligned: int, padding: str
) -> None:
    """Places far outside the image, too; only linear ones are one operation."""
    x, grid = make.random(2, 3, 5, 4), make.random(2, 6, 7, 2, seed=1, low=-3, high=3)
    node = helper.make_node(
        "GridSample", ["x", "g"], ["y"], mode=mode, align_corners=aligned, padding_mode=padding
    )
    feeds = {"x": x, "g": grid}
    matches_ort(make.build_model([node], feeds, ["y"]), feeds, atol=2e-5)
    assert ("resample" in _operations(tmp_path)) == (mode == "linear")


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_a_row_of_one_pixel(make: Any, matches_ort: Any, padding: str) -> None:
    x, grid = make.random(1, 2, 1, 4), make.random(1, 3, 3, 2, seed=1)
    node = helper.make_node("GridSample", ["x", "g"], ["y"], padding_mode=padding)
    feeds = {"x": x, "g": grid}
    matches_ort(make.build_model([node], feeds, ["y"]), feeds)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_volumes(make: Any, matches_ort: Any, mode: str) -> None:
    x, grid = make.random(1, 2, 3, 4, 3), make.random(1, 2, 3, 2, 3, seed=1, low=-1.5, high=1.5)
    mode = "linear" if mode == "bilinear" else mode
    node = helper.make_node("GridSample", ["x", "g"], ["y"], mode=mode)
    feeds = {"x": x, "g": grid}
    matches_ort(make.build_model([node], feeds, ["y"]), feeds)


@pytest.mark.parametrize("aligned", [0, 1])
def test_spatial_transformer(make: Any, matches_ort: Any, aligned: int) -> None:
    """A computed affine map and the image that it moves."""
    nodes = [
        helper.make_node("AffineGrid", ["t", "size"], ["g"], align_corners=aligned),
        helper.make_node("GridSample", ["x", "g"], ["y"], align_corners=aligned),
    ]
    feeds = {"x": make.random(1, 2, 6, 5), "t": make.random(1, 2, 3, seed=1, low=-1, high=1)}
    model = make.build_model(nodes, feeds, ["y"], {"size": np.array([1, 2, 4, 7])})
    matches_ort(model, feeds)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align(make: Any, matches_ort: Any, mode: str) -> None:
    attributes = {"output_height": 3, "output_width": 2, "sampling_ratio": 2, "mode": mode}
    nodes = [helper.make_node("RoiAlign", ["x", "r", "b"], ["y"], spatial_scale=0.5, **attributes)]
    corners = np.array([[0, 0, 9, 7], [3, 2, 6, 11], [-2, 1, 20, 5]], np.float32)
    feeds = {"x": make.random(2, 3, 8, 6), "r": corners, "b": np.array([0, 1, 1])}
    matches_ort(make.build_model(nodes, feeds, ["y"]), feeds)


def test_max_roi_pool(make: Any, matches_ort: Any) -> None:
    nodes = [helper.make_node("MaxRoiPool", ["x", "r"], ["y"], pooled_shape=[2, 2])]
    regions = np.array([[0, 0, 0, 4, 5], [1, 1, 2, 3, 3]], np.float32)
    feeds = {"x": make.random(2, 2, 8, 6)}
    matches_ort(make.build_model(nodes, feeds, ["y"], {"r": regions}), feeds)


def test_deform_conv(make: Any, matches_ort: Any) -> None:
    nodes = [helper.make_node("DeformConv", ["x", "w", "o"], ["y"], kernel_shape=[2, 2])]
    feeds = {"x": make.random(1, 2, 5, 4), "o": make.random(1, 8, 4, 3, seed=1)}
    model = make.build_model(nodes, feeds, ["y"], {"w": make.random(3, 2, 2, 2, seed=2)}, opset=19)
    matches_ort(model, feeds)
