"""affine, crop, crop_resize, space_to_batch, batch_to_space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewise.errors import ModelError
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import ct

_X = np.random.default_rng(0).normal(size=(2, 3, 5, 7)).astype(np.float32)


def test_crop(run_mil: Any) -> None:
    (result,) = run_mil(lambda x: mb.crop(x=x, crop_height=[1, 2], crop_width=[0, 3]), {"x": _X})
    assert np.array_equal(result, _X[:, :, 1:3, :4])


@pytest.mark.parametrize("batch", [1, 2])
def test_affine_is_torchs_grid_with_aligned_corners(run_mil: Any, batch: int) -> None:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    matrix = np.random.default_rng(1).normal(0, 0.6, (batch, 6)).astype(np.float32)

    def build(x: Any) -> Any:
        return mb.affine(
            x=x,
            transform_matrix=matrix,
            output_height=4,
            output_width=6,
            sampling_mode="bilinear",
            padding_mode="constant",
            padding_value=np.float32(0),
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=True,
        )

    (result,) = run_mil(build, {"x": _X})
    theta = torch.from_numpy(np.broadcast_to(matrix, (2, 6)).reshape(2, 2, 3).copy())
    grid = functional.affine_grid(theta, (2, 3, 4, 6), align_corners=True)
    expected = functional.grid_sample(torch.from_numpy(_X), grid, align_corners=True)
    np.testing.assert_allclose(result, expected.numpy(), atol=1e-5)


def _read(image: Any, row: float, column: float) -> Any:
    """One bilinear sample, by its definition; 9 outside."""
    height, width = image.shape[1:]
    if not (0 <= row <= height - 1 and 0 <= column <= width - 1):
        return np.full(3, 9.0)
    rows = np.maximum(1 - np.abs(np.arange(height) - row), 0)  # a hat over each pixel
    columns = np.maximum(1 - np.abs(np.arange(width) - column), 0)
    return np.einsum("chw,h,w->c", image, rows, columns)


_BOXES = np.array([[0.5, 1.0, 3.25, 4.5], [1.0, 0.25, 4.75, 5.0], [0, 0, 4, 6]], np.float32)
#: mode -> places from `a` to `b`, three of them
_GRIDS = {
    "STRICT_ALIGN_CORNERS": lambda a, b: [a, (a + b) / 2, b],
    "ALIGN_CORNERS": lambda a, b: [a, (a + b) / 2, b],
    "OFFSET_CORNERS": lambda a, b: [a + (b - a) * (k + 0.5) / 3 for k in range(3)],
}


@pytest.mark.parametrize("mode", _GRIDS)
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("order", ["CORNERS", "CENTER_SIZE"])
@pytest.mark.parametrize("first", ["HEIGHT", "WIDTH"])
def test_crop_resize(run_mil: Any, mode: str, normalized: bool, order: str, first: str) -> None:
    numbers = np.array([1, 0, 1], np.int32)
    scale = np.array([4, 6, 4, 6], np.float32) if normalized else np.float32(1)
    boxes = _BOXES / scale
    if order == "CENTER_SIZE":
        low, high = boxes[:, :2], boxes[:, 2:]
        boxes = np.concatenate([(low + high) / 2, high - low], axis=1)
    if first == "WIDTH":
        boxes = boxes[:, [1, 0, 3, 2]]

    def build(x: Any) -> Any:
        return mb.crop_resize(
            x=x,
            boxes=boxes.astype(np.float32),
            box_indices=numbers,
            target_height=3,
            target_width=3,
            normalized_coordinates=normalized,
            box_coordinate_mode=f"{order}_{first}_FIRST",
            sampling_mode=mode,
            pad_value=np.float32(9),
        )

    (result,) = run_mil(build, {"x": _X})
    for crop, number, (top, left, bottom, right) in zip(result, numbers, _BOXES, strict=True):
        for i, row in enumerate(_GRIDS[mode](top, bottom)):
            for j, column in enumerate(_GRIDS[mode](left, right)):
                expected = _read(_X[number], row, column)
                np.testing.assert_allclose(crop[:, i, j], expected, atol=1e-4)


@pytest.mark.parametrize("numbered", [False, True])
def test_crop_resize_of_old_systems(run_mil: Any, numbered: bool) -> None:
    regions = np.array([[1, 1, 3, 4], [-1, 0, 4, 6]], np.float32)
    if numbered:
        regions = np.concatenate([np.array([[1], [0]], np.float32), regions], axis=1)

    def build(x: Any) -> Any:
        return mb.crop_resize(
            x=x,
            roi=regions.reshape(2, 1, -1, 1, 1),
            target_height=3,
            target_width=4,
            sampling_mode="ALIGN_CORNERS",
            pad_value=np.float32(9),
        )

    (result,) = run_mil(build, {"x": _X}, target=ct.target.iOS16)
    assert result.shape == (2, 1 if numbered else 2, 3, 3, 4)
    whole = _X[:, :, 1:4, 1:5]
    np.testing.assert_allclose(result[0], whole[1:] if numbered else whole, atol=1e-6)
    assert (result[1, ..., 0, :] == 9).all()  # the row at -1 lies outside


def test_crop_resize_without_a_documented_grid(run_mil: Any) -> None:
    with pytest.raises(ModelError, match="sampling_mode DEFAULT has no documented grid for boxes"):
        run_mil(lambda x: mb.crop_resize(x=x, boxes=_BOXES[:2]), {"x": _X})


@pytest.mark.parametrize(
    ("block", "pads"), [((2, 3), ((1, 0), (0, 2))), ((1, 2), ((0, 0), (1, 0)))]
)
def test_space_to_batch(run_mil: Any, block: Any, pads: Any) -> None:
    """Place (i, j) of each block makes image i * columns + j, before all others of the batch."""
    block_shape, paddings = np.array(block, np.int32), np.array(pads, np.int32)
    (result,) = run_mil(
        lambda x: mb.space_to_batch(x=x, block_shape=block_shape, paddings=paddings), {"x": _X}
    )
    padded = np.pad(_X, ((0, 0), (0, 0), *pads))
    rows, columns = block
    places = [padded[:, :, i::rows, j::columns] for i in range(rows) for j in range(columns)]
    assert np.array_equal(result, np.concatenate(places))


def test_batch_to_space_undoes_it(run_mil: Any) -> None:
    block, pads = np.array([2, 3], np.int32), np.array([[1, 0], [0, 2]], np.int32)

    def build(x: Any) -> Any:
        blocks = mb.space_to_batch(x=x, block_shape=block, paddings=pads)
        return mb.batch_to_space(x=blocks, block_shape=block, crops=pads)

    (result,) = run_mil(build, {"x": _X})
    assert np.array_equal(result, _X)
