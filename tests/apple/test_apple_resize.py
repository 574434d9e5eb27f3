"""Resize in its modes against ONNX Runtime, through the saved package, and which form is chosen."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.targets.apple import TARGET
from edgewise.targets.apple._coremltools import ct

IMAGE = (1, 2, 6, 4)


def scales(height: float, width: float):
    return [IMAGE, None, np.array([1, 1, height, width], np.float32)]


def sizes(height: int, width: int):
    return [IMAGE, None, None, np.array([1, 2, height, width], np.int64)]


COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]


@pytest.mark.parametrize("operands", [scales(2, 2), scales(0.5, 0.5), scales(1.5, 2), sizes(5, 9)])
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_interpolation(node_matches_ort, operands, coordinates, mode):
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
    node_matches_ort("Resize", operands, attributes, atol=2e-5)


@pytest.mark.parametrize(
    "operands", [scales(2, 3), scales(0.5, 0.5), scales(1.5, 1.25), sizes(5, 9)]
)
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_nearest(node_matches_ort, operands, coordinates, rounding):
    attributes = {"coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    node_matches_ort("Resize", operands, attributes)


def test_one_position_and_no_change(node_matches_ort):
    node_matches_ort("Resize", sizes(1, 1), {"mode": "linear"})
    node_matches_ort("Resize", scales(1, 1), {"mode": "linear"})


def test_axes_and_aspect_ratio(node_matches_ort):
    two = [IMAGE, None, None, np.array([9, 8], np.int64)]
    attributes = {"mode": "linear", "axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}
    node_matches_ort("Resize", two, attributes)


def test_a_scale_that_does_not_fit_the_sizes(node_matches_ort):
    """floor(6 * 1.4) / 6 is not 1.4: the grid follows the scale, not the sizes."""
    node_matches_ort("Resize", scales(1.4, 1.4), {"mode": "linear"}, atol=2e-5)


def test_other_ranks(node_matches_ort):
    signal = [(1, 3, 8), None, np.array([1, 1, 2], np.float32)]
    node_matches_ort("Resize", signal, {"mode": "linear"})
    node_matches_ort("Resize", signal, {"mode": "nearest"})


@pytest.mark.parametrize(
    ("operands", "attributes", "expected"),
    [
        (scales(2, 2), {"mode": "nearest"}, "upsample_nearest_neighbor"),
        (scales(0.5, 0.5), {"mode": "nearest"}, "slice_by_index"),
        (scales(2, 2), {"mode": "linear"}, "resize_bilinear"),
        (scales(2, 2), {"mode": "cubic"}, "matmul"),
    ],
)
def test_the_cheapest_form_is_chosen(make, tmp_path, operands, attributes, expected):
    artifact = TARGET.emit(make.node("Resize", operands, attributes).model(), tmp_path, "fp32")
    function = ct.utils.load_spec(str(artifact.path)).mlProgram.functions["main"]
    kinds = [op.type for op in function.block_specializations[function.opset].operations]
    assert expected in kinds
