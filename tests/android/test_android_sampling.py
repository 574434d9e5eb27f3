"""Operators that are expanded before they are lowered, in LiteRT: sampling, regions, columns, pools
by other norms. Their mathematics is tested with the expansions; here it is that TFLite's kernels
compute the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

REGIONS = np.array([[0, 0, 10, 8], [-5, 3, 30, 6], [4, 4, 4, 4], [6, 9, 2, 5]], np.float32)
IMAGES = np.array([0, 1, 1, 0])


def _run(
    execute: Any,
    kit: Any,
    op_type: str,
    feeds: dict[str, Any],
    constants: dict[str, Any] | None = None,
    *,
    order: list[str] | None = None,
    outputs: tuple[str, ...] = ("y",),
    opset: int = 21,
    **attributes: Any,
) -> Any:
    layer = kit.node(op_type, order or [*feeds, *(constants or {})], list(outputs), **attributes)
    source = kit.model([layer], feeds, dict.fromkeys(outputs, np.float32), constants, opset=opset)
    return execute(source, feeds)


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_grid_sample(
    execute: Any, kit: Any, rng: Any, mode: str, padding_mode: str, align_corners: int
) -> None:
    feeds = {
        "x": rng.standard_normal((2, 3, 7, 9), np.float32),
        "g": rng.uniform(-2.5, 2.5, (2, 6, 5, 2)).astype(np.float32),
    }
    feeds["g"][0, 0, 0] = 50
    run = _run(
        execute, kit, "GridSample", feeds, mode=mode, padding_mode=padding_mode,
        align_corners=align_corners,
    )  # fmt: skip
    assert run.error <= 3e-5


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_grid_sample_of_a_volume(execute: Any, kit: Any, rng: Any, mode: str) -> None:
    feeds = {
        "x": rng.standard_normal((2, 3, 4, 5, 6), np.float32),
        "g": rng.uniform(-1.5, 1.5, (2, 3, 4, 2, 3)).astype(np.float32),
    }
    assert _run(execute, kit, "GridSample", feeds, mode=mode).error <= kit.float_tolerance


def test_a_spatial_transformer_reads_rows_of_channels(kit: Any, rng: Any) -> None:
    """The image is never transposed: its pixels are rows of channels already."""
    feeds = {"x": np.zeros((1, 8, 6, 6), np.float32), "t": np.zeros((1, 2, 3), np.float32)}
    nodes = [
        kit.node("AffineGrid", ["t", "size"], ["g"]),
        kit.node("GridSample", ["x", "g"], ["y"]),
    ]
    found = kit.kinds(kit.model(nodes, feeds, {"y": np.float32}, {"size": np.array([1, 8, 6, 6])}))
    assert found.count("GATHER") == 4
    assert found.count("TRANSPOSE") <= 1  # of the matrix


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "output_half_pixel"])
def test_roi_align(execute: Any, kit: Any, rng: Any, mode: str, coordinates: str) -> None:
    feeds = {"x": rng.standard_normal((2, 3, 9, 12), np.float32), "r": REGIONS, "b": IMAGES}
    run = _run(
        execute, kit, "RoiAlign", feeds, mode=mode, output_height=3, output_width=4,
        sampling_ratio=2, spatial_scale=0.5, coordinate_transformation_mode=coordinates,
    )  # fmt: skip
    assert run.error <= kit.float_tolerance


def test_roi_align_of_opset_10_has_no_half_pixel(execute: Any, kit: Any, rng: Any) -> None:
    feeds = {"x": rng.standard_normal((2, 3, 9, 12), np.float32), "r": REGIONS, "b": IMAGES}
    run = _run(
        execute, kit, "RoiAlign", feeds, output_height=3, output_width=4, sampling_ratio=2, opset=10
    )
    assert run.error <= kit.float_tolerance


def test_max_roi_pool(execute: Any, kit: Any, rng: Any) -> None:
    regions = np.concatenate([IMAGES[:, None], REGIONS], axis=1).astype(np.float32)
    feeds = {"x": rng.standard_normal((2, 3, 9, 12), np.float32), "r": regions}
    run = _run(execute, kit, "MaxRoiPool", feeds, pooled_shape=[3, 4], spatial_scale=0.5)
    assert run.error == 0


def test_deformable_convolution(execute: Any, kit: Any, rng: Any) -> None:
    feeds = {
        "x": rng.standard_normal((2, 4, 9, 8), np.float32),
        "o": rng.uniform(-2, 2, (2, 36, 7, 6)).astype(np.float32),
        "m": rng.uniform(0, 1, (2, 18, 7, 6)).astype(np.float32),
    }
    constants = {
        "w": rng.standard_normal((6, 4, 3, 3), np.float32),
        "b": rng.standard_normal(6, np.float32),
    }
    run = _run(
        execute, kit, "DeformConv", feeds, constants, order=["x", "w", "o", "b", "m"],
        offset_group=2,
    )  # fmt: skip
    assert run.error <= 3e-5


@pytest.mark.parametrize("power", [1, 2, 3])
def test_pools_by_norms(execute: Any, kit: Any, rng: Any, power: int) -> None:
    feeds = {"x": rng.standard_normal((2, 3, 9, 8), np.float32)}
    window = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}
    assert _run(execute, kit, "LpPool", feeds, p=power, **window).error <= kit.float_tolerance
    assert _run(execute, kit, "GlobalLpPool", feeds, p=power).error <= 1e-4


@pytest.mark.parametrize("strides", [[2, 2], [1, 1]])
def test_pool_and_unpool(execute: Any, kit: Any, rng: Any, strides: list[int]) -> None:
    feeds = {"x": rng.standard_normal((2, 3, 6, 6), np.float32)}
    nodes = [
        kit.node("MaxPool", ["x"], ["p", "i"], kernel_shape=[2, 2], strides=strides),
        kit.node("MaxUnpool", ["p", "i"], ["y"], kernel_shape=[2, 2], strides=strides),
    ]
    assert execute(kit.model(nodes, feeds, {"y": np.float32}), feeds).error == 0


@pytest.mark.parametrize("image", [[6, 8], [5, 5, 4]])
def test_columns(execute: Any, kit: Any, rng: Any, image: list[int]) -> None:
    block = [3, 2, 2][: len(image)]
    places = int(np.prod([size - part + 1 for size, part in zip(image, block, strict=True)]))
    x = rng.standard_normal((2, 3 * int(np.prod(block)), places), np.float32)
    layer = kit.node("Col2Im", ["x", "i", "b"], ["y"])
    constants = {"i": np.array(image), "b": np.array(block)}
    source = kit.model([layer], {"x": x}, {"y": np.float32}, constants)
    assert execute(source, {"x": x}, reference=True).error <= kit.float_tolerance


def test_causal_convolution(execute: Any, kit: Any, rng: Any) -> None:
    feeds = {
        "x": rng.standard_normal((2, 3, 5), np.float32),
        "p": rng.standard_normal((2, 3, 3), np.float32),
    }
    constants = {"w": rng.standard_normal((3, 1, 4), np.float32), "b": np.ones(3, np.float32)}
    layer = kit.node("CausalConvWithState", ["x", "w", "b", "p"], ["y", "s"], activation="silu")
    source = kit.model([layer], feeds, {"y": np.float32, "s": np.float32}, constants, opset=27)
    assert execute(source, feeds, reference=True).error <= kit.float_tolerance


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(2, 3, 9), (2, 3, 4, 5), (2, 3, 4, 5, 6)])
def test_global_pools_of_any_rank(
    execute: Any, kit: Any, rng: Any, op_type: str, shape: tuple[int, ...]
) -> None:
    feeds = {"x": rng.standard_normal(shape, np.float32)}
    assert _run(execute, kit, op_type, feeds).error <= kit.float_tolerance


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("channels", [8, 12])
def test_depth_and_space(execute: Any, kit: Any, rng: Any, mode: str, channels: int) -> None:
    feeds = {"x": rng.standard_normal((2, channels, 4, 6), np.float32)}
    assert _run(execute, kit, "DepthToSpace", feeds, blocksize=2, mode=mode).error == 0
    assert _run(execute, kit, "SpaceToDepth", feeds, blocksize=2).error == 0
