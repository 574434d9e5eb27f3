"""Resizing against ONNX Runtime, the documentation's examples, and coremltools' own tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper

from edgewise.errors import ModelError
from edgewise.graph import OrtSession
from edgewise.targets.apple._coremltools import Builder as mb

Array = npt.NDArray[Any]


def _onnx_resize(x: Array, sizes: list[int], **attributes: str) -> Array:
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "reference",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("sizes", TensorProto.INT64, [4]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    feeds = {"x": x, "sizes": np.array([*x.shape[:2], *sizes], np.int64)}
    return OrtSession(model.SerializeToString()).run(feeds)["y"]


@pytest.mark.parametrize("sizes", [[7, 11], [3, 4], [10, 14]])
@pytest.mark.parametrize(
    ("mode", "transformation"),
    [
        ("STRICT_ALIGN_CORNERS", "align_corners"),
        ("ALIGN_CORNERS", "align_corners"),
        ("DEFAULT", "asymmetric"),
        ("UNALIGN_CORNERS", "half_pixel"),
    ],
)
def test_bilinear(apply_kernel: Any, sizes: list[int], mode: str, transformation: str) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 7)).astype(np.float32)
    expected = _onnx_resize(x, sizes, mode="linear", coordinate_transformation_mode=transformation)
    result = apply_kernel(
        "resize_bilinear",
        x=x,
        target_size_height=sizes[0],
        target_size_width=sizes[1],
        sampling_mode=mode,
    )
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    general = apply_kernel("resize", x=x, shape=np.array(sizes), resized_dims=2, sampling_mode=mode)
    assert np.array_equal(general, result)


@pytest.mark.parametrize(
    ("mode", "width", "grid"),
    [
        ("UNALIGN_CORNERS", 5, [0, 0.1, 0.5, 0.9, 1]),
        ("STRICT_ALIGN_CORNERS", 5, [0, 0.25, 0.5, 0.75, 1]),
        ("DEFAULT", 5, [0, 0.4, 0.8, 1, 1]),
        ("OFFSET_CORNERS", 5, [0.1, 0.3, 0.5, 0.7, 0.9]),
        ("OFFSET_CORNERS", 6, [1 / 12, 0.25, 5 / 12, 7 / 12, 0.75, 11 / 12]),
        ("ALIGN_CORNERS", 1, [0.5]),
        ("STRICT_ALIGN_CORNERS", 1, [0]),
        ("DEFAULT", 1, [0]),
    ],
)
def test_examples_of_the_documentation(
    run_mil: Any, mode: str, width: int, grid: list[float]
) -> None:
    x = np.array([[[0, 1]]], np.float32)
    (result,) = run_mil(
        lambda x: mb.resize_bilinear(
            x=x, target_size_height=1, target_size_width=width, sampling_mode=mode
        ),
        {"x": x},
    )
    np.testing.assert_allclose(result[0, 0], grid, atol=1e-6)


@pytest.mark.parametrize("sizes", [(2.0, 3.0), (1.5, 0.5)])
@pytest.mark.parametrize(
    ("options", "transformation"),
    [
        ({}, "align_corners"),
        ({"align_corners": False}, "half_pixel"),
        ({"align_corners": False, "half_pixel_centers": False}, "asymmetric"),
    ],
)
def test_upsample_bilinear(
    run_mil: Any, sizes: tuple[float, float], options: dict[str, bool], transformation: str
) -> None:
    x = np.random.default_rng(1).normal(size=(1, 2, 4, 6)).astype(np.float32)
    (result,) = run_mil(
        lambda x: mb.upsample_bilinear(
            x=x, scale_factor_height=sizes[0], scale_factor_width=sizes[1], **options
        ),
        {"x": x},
    )
    expected = _onnx_resize(
        x,
        [int(4 * sizes[0]), int(6 * sizes[1])],
        mode="linear",
        coordinate_transformation_mode=transformation,
    )
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_aligned_corners_have_no_half_pixel_centres(apply_kernel: Any) -> None:
    with pytest.raises(ModelError, match="exclude each other"):
        apply_kernel(
            "upsample_bilinear",
            x=np.zeros((1, 1, 2, 2), np.float32),
            align_corners=True,
            half_pixel_centers=True,
        )


def test_nearest(run_mil: Any) -> None:
    x = np.random.default_rng(2).normal(size=(1, 2, 4, 5)).astype(np.float32)

    def build(x: Any) -> list[Any]:
        return [
            mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
            mb.upsample_nearest_neighbor(x=x, scale_factor_height=1.5, scale_factor_width=0.8),
            mb.resize_nearest_neighbor(x=x, target_size_height=7, target_size_width=3),
            mb.resize_nearest_neighbor(x=x, target_size_height=8, target_size_width=10),
        ]

    nearest = {"mode": "nearest", "nearest_mode": "floor"}
    asymmetric = {**nearest, "coordinate_transformation_mode": "asymmetric"}
    expected = [
        _onnx_resize(x, [8, 15], **asymmetric),
        _onnx_resize(x, [6, 4], **asymmetric),
        x[:, :, [0, 0, 1, 2, 2, 3, 3]][..., [0, 2, 4]],
        _onnx_resize(x, [8, 10], **asymmetric),
    ]
    for result, reference in zip(run_mil(build, {"x": x}), expected, strict=True):
        assert np.array_equal(result, reference)


def test_nearest_of_the_general_resize(run_mil: Any) -> None:
    """The first case is a test of coremltools that runs on a Mac."""
    x = np.array([[[[-6.174], [9.371]]]], np.float32)

    def build(x: Any) -> list[Any]:
        options = {"resized_dims": np.uint32(2), "interpolation_mode": "NEAREST_NEIGHBOR"}
        return [
            mb.resize(x=x, shape=[1, 1, 3, 2], **options),
            mb.resize(x=x, shape=[1, 1, 4, 1], **options),
            mb.resize(x=x, shape=[1, 1, 0, 2], **options),
        ]

    thirds, doubled, kept = run_mil(build, {"x": x})
    low, high = np.float32(-6.174), np.float32(9.371)
    assert thirds[0, 0].tolist() == [[low, low], [high, high], [high, high]]
    assert doubled[0, 0, :, 0].tolist() == [low, low, high, high]
    assert kept[0, 0].tolist() == [[low, low], [high, high]]
