"""Model inputs and small pictures that the data tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgewise.data import InputSpec


@pytest.fixture
def rgb_input() -> InputSpec:
    return InputSpec("image", ("batch", 3, 8, 8), np.dtype(np.float32))


@pytest.fixture
def draw() -> Callable[..., np.ndarray]:
    """Writes a random RGB picture (or one of another mode) and gives its pixels."""

    def write(path: Path, size: tuple[int, int] = (8, 8), mode: str = "RGB", seed: int = 0):
        from PIL import Image

        shape = size if mode == "L" else (*size, {"RGBA": 4}.get(mode, 3))
        pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels, mode=None).save(path)
        return pixels

    return write
