"""GridSample and AffineGrid in simpler operators, against the reference."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

MODES = [
    (mode, padding, align)
    for mode, padding, align in product(
        ("nearest", "linear", "cubic"), ("zeros", "border", "reflection"), (0, 1)
    )
    if (mode, padding) != ("cubic", "border")
]


@pytest.mark.parametrize(("mode", "padding_mode", "align_corners"), MODES)
def test_images(rewritten: Any, rng: Any, mode: str, padding_mode: str, align_corners: int) -> None:
    x = rng.standard_normal((2, 2, 4, 5)).astype(np.float32)
    grid = rng.uniform(-2.5, 2.5, (2, 3, 6, 2)).astype(np.float32)
    grid[0, 0, 0], grid[1, 0, 0] = (-1, 1), (30, -30)
    done = rewritten(
        "GridSample", [x, grid], mode=mode, padding_mode=padding_mode,
        align_corners=align_corners,
    )  # fmt: skip
    assert done.error <= 1e-5
    assert "GridSample" not in done.ops


@pytest.mark.parametrize("align_corners", [0, 1])
def test_cubic_with_border(runtime_error: Any, rng: Any, align_corners: int) -> None:
    """The reference moves places to the border first; ONNX Runtime and PyTorch do not."""
    x = rng.standard_normal((1, 2, 6, 5)).astype(np.float32)
    grid = rng.uniform(-2.5, 2.5, (1, 5, 6, 2)).astype(np.float32)
    grid[0, 0, 0] = (40, -40)
    attributes = {"mode": "cubic", "padding_mode": "border", "align_corners": align_corners}
    assert runtime_error("GridSample", [x, grid], **attributes) <= 1e-5


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("sizes", [(3, 4, 5), (6,), (1, 4, 1)])
def test_other_ranks(
    rewritten: Any, rng: Any, mode: str, padding_mode: str, align_corners: int, sizes: Any
) -> None:
    if align_corners and padding_mode == "reflection" and 1 in sizes:
        return  # the reference divides by zero: see the test of single pixels
    x = rng.standard_normal((1, 2, *sizes)).astype(np.float32)
    places = (2, 3, 2)[: len(sizes)]
    grid = rng.uniform(-1.6, 1.6, (1, *places, len(sizes))).astype(np.float32)
    done = rewritten(
        "GridSample", [x, grid], mode=mode, padding_mode=padding_mode,
        align_corners=align_corners,
    )  # fmt: skip
    assert done.error <= 1e-5


def test_a_single_pixel_is_its_own_reflection(rewritten: Any, rng: Any) -> None:
    x = np.full((1, 1, 1, 1), 3, np.float32)
    grid = rng.uniform(-3, 3, (1, 2, 2, 2)).astype(np.float32)
    done = rewritten("GridSample", [x, grid], padding_mode="reflection", align_corners=1)
    assert np.array_equal(done.outputs[0], np.full((1, 1, 2, 2), 3, np.float32))


def test_the_names_of_opset_16(rewritten: Any, rng: Any) -> None:
    x = rng.standard_normal((1, 2, 4, 5)).astype(np.float32)
    grid = rng.uniform(-1.2, 1.2, (1, 3, 3, 2)).astype(np.float32)
    found = rewritten("GridSample", [x, grid], mode="linear").outputs[0]
    old = rewritten("GridSample", [x, grid], mode="bilinear", opset=16, reference=False)
    np.testing.assert_allclose(old.outputs[0], found, atol=1e-6)


def test_a_constant_grid_is_folded(rewritten: Any, rng: Any) -> None:
    x = rng.standard_normal((1, 2, 4, 5)).astype(np.float32)
    grid = rng.uniform(-1.2, 1.2, (1, 3, 3, 2)).astype(np.float32)
    done = rewritten("GridSample", [x, grid], constants=(1,))
    assert done.error <= 1e-5
    assert not set(done.ops) - {"Transpose", "Reshape", "Gather", "Mul", "Add"}


def test_integers_are_declined(declined: Any) -> None:
    x, grid = np.zeros((1, 1, 2, 2), np.int32), np.zeros((1, 2, 2, 2), np.float32)
    assert declined("GridSample", [x, grid]) == "it samples int32"


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 3, 2, 3, 4)])
def test_affine_grid(rewritten: Any, rng: Any, align_corners: int, size: Any) -> None:
    rank = len(size) - 2
    theta = rng.standard_normal((2, rank, rank + 1)).astype(np.float32)
    done = rewritten(
        "AffineGrid", [theta, np.array(size)], constants=(1,), align_corners=align_corners
    )
    assert done.error <= 1e-5
    assert "AffineGrid" not in done.ops


def test_affine_grid_of_one_point_with_aligned_corners_is_declined(declined: Any) -> None:
    inputs = [np.zeros((1, 2, 3), np.float32), np.array([1, 1, 1, 4])]
    assert "no place" in declined("AffineGrid", inputs, constants=(1,), align_corners=1)
