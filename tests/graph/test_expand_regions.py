"""RoiAlign and MaxRoiPool in simpler operators, against the reference and ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

REGIONS = np.array(
    [[0, 0, 10, 8], [-5, 3, 30, 6], [4, 4, 4, 4], [6, 9, 2, 5], [20, 15, 24, 18]], np.float32
)
IMAGES = np.array([0, 1, 1, 0, 1])


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_roi_align(rewritten: Any, rng: Any, mode: str, coordinates: str, scale: float) -> None:
    x = rng.standard_normal((2, 3, 9, 12)).astype(np.float32)
    done = rewritten(
        "RoiAlign", [x, REGIONS, IMAGES], mode=mode, output_height=3, output_width=4,
        sampling_ratio=2, spatial_scale=scale, coordinate_transformation_mode=coordinates,
    )  # fmt: skip
    assert done.error <= 1e-5
    assert "RoiAlign" not in done.ops


def test_roi_align_of_one_bin(rewritten: Any, rng: Any) -> None:
    x = rng.standard_normal((2, 3, 9, 12)).astype(np.float32)
    done = rewritten("RoiAlign", [x, REGIONS, IMAGES], sampling_ratio=1)
    assert done.error <= 1e-5


def test_roi_align_with_adaptive_sampling_is_declined(declined: Any) -> None:
    x = np.zeros((2, 3, 9, 12), np.float32)
    assert "depends on the regions" in declined("RoiAlign", [x, REGIONS, IMAGES])


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (2, 7)])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3])
def test_max_roi_pool(runtime_error: Any, rng: Any, shape: Any, scale: float) -> None:
    x = rng.standard_normal((2, 3, 9, 12)).astype(np.float32)
    rois = np.concatenate([IMAGES[:, None], REGIONS], axis=1).astype(np.float32)
    attributes = {"pooled_shape": list(shape), "spatial_scale": scale}
    assert runtime_error("MaxRoiPool", [x, rois], **attributes) == 0
