"""Resize in its modes against ONNX Runtime, through the saved package, and which form is chosen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from edgewise.errors import UnsupportedOperator
from edgewise.graph import OrtSession, prepare
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


GRIDS = [*COORDINATES, "half_pixel_symmetric"]


@pytest.mark.parametrize("coordinates", GRIDS)
@pytest.mark.parametrize("axis", range(5))
def test_any_axis(node_matches_ort, axis, coordinates):
    """Nearest in integers beyond what floats hold."""
    shape, target = [2, 3, 4, 3, 2], np.array([2, 3, 4, 3, 2], np.int64)
    target[axis] = 5
    attributes = {"mode": "nearest", "coordinate_transformation_mode": coordinates}
    x = (np.arange(np.prod(shape)) * 10_000_001).astype(np.int32).reshape(shape)
    node_matches_ort("Resize", [x, None, None, target], attributes)


@pytest.mark.parametrize("coordinates", GRIDS)
@pytest.mark.parametrize("target", [(2, 3, 5, 4), (2, 6, 4, 4), (2, 5, 4, 4)])
def test_linear_along_other_axes(node_matches_ort, target, coordinates):
    attributes = {"mode": "linear", "coordinate_transformation_mode": coordinates}
    operands = [(2, 3, 4, 4), None, None, np.array(target, np.int64)]
    node_matches_ort("Resize", operands, attributes, atol=2e-5)


@pytest.mark.parametrize("coordinates", GRIDS)
def test_linear_volumes(node_matches_ort, coordinates):
    attributes = {"mode": "linear", "coordinate_transformation_mode": coordinates}
    operands = [(1, 2, 3, 4, 4), None, None, np.array([1, 2, 5, 7, 9], np.int64)]
    node_matches_ort("Resize", operands, attributes, atol=2e-5)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("operands", [scales(0.5, 0.6), sizes(2, 3)])
def test_antialias(node_matches_ort, mode, operands):
    node_matches_ort("Resize", operands, {"mode": mode, "antialias": 1}, atol=2e-5)


@pytest.mark.parametrize("operands", [scales(2, 1.5), scales(0.5, 0.75)])
def test_taps_outside_are_left_out(node_matches_ort, operands):
    attributes = {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5}
    node_matches_ort("Resize", operands, attributes, atol=2e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("region", [(0.1, 0.2, 0.8, 0.9), (-0.3, 0.0, 0.7, 1.4)])
def test_a_region_of_interest(node_matches_ort, mode, region):
    top, left, bottom, right = region
    roi = np.array([0, 0, top, left, 1, 1, bottom, right], np.float32)
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": "tf_crop_and_resize",
        "extrapolation_value": 7.5,
    }
    target = np.array([1, 2, 5, 7], np.int64)
    node_matches_ort("Resize", [IMAGE, roi, None, target], attributes, atol=2e-5)


def test_what_runtimes_compute_differently_is_refused(make, tmp_path):
    """A fraction of an element between corners that are aligned."""
    attributes = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    with pytest.raises(UnsupportedOperator, match="means different things"):
        TARGET.emit(make.node("Resize", scales(0.6, 0.6), attributes).model(), tmp_path)


def test_integers_are_not_interpolated(make, tmp_path):
    x = np.zeros(IMAGE, np.int32)
    node = make.node("Resize", [x, *scales(2, 2)[1:]], {"mode": "linear"})
    with pytest.raises(UnsupportedOperator, match="rounded differently"):
        TARGET.emit(node.model(), tmp_path)


@st.composite
def _resizes(draw):
    """Operands and attributes of a Resize of the last one or two axes."""
    rank, mode = draw(st.integers(3, 4)), draw(st.sampled_from(["nearest", "linear", "cubic"]))
    shape = (1, 2, *(draw(st.integers(2, 7)) for _ in range(rank - 2)))
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": draw(st.sampled_from(GRIDS)),
        "nearest_mode": draw(
            st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
        ),
    }
    target = [1, 2, *(draw(st.integers(1, 12)) for _ in range(rank - 2))]
    return [shape, None, None, np.array(target, np.int64)], attributes


@pytest.mark.slow
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(_resizes())
def test_geometry(make, tmp_path_factory, resize):
    operands, attributes = resize
    assume(attributes["mode"] != "cubic" or len(operands[0]) == 4)  # as ONNX Runtime has it
    node = make.node("Resize", operands, attributes)
    artifact = TARGET.emit(node.model(), tmp_path_factory.mktemp("resize"))
    expected = OrtSession(prepare(node.model())).run({"x": node.x})["y0"]
    result = TARGET.open(artifact.path).run({"x": node.x})["y0"]
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=2e-5)
