"""Pictures with and without people as MLPerf Tiny's visual wake words models take them: RGB / 255.

Data are `dev128.npz` (`x`: uint8 pictures (N, 96, 96, 3), `y`: 1 for a person) in `$DATA/vww`.
Scales are chosen from every fourth of them; all are counted. `INT8` is what the int8 file calls its
input.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from data_folder import DATA

FLOAT, INT8 = "input_1", "input_1_int8"

Example = tuple[dict[str, npt.NDArray[np.float32]], int]


def calibration() -> Iterator[Example]:
    return _examples(FLOAT, every=4)


def evaluation() -> Iterator[Example]:
    return _examples(FLOAT, every=1)


def int8_calibration() -> Iterator[Example]:
    return _examples(INT8, every=4)


def int8_evaluation() -> Iterator[Example]:
    return _examples(INT8, every=1)


def _examples(name: str, *, every: int) -> Iterator[Example]:
    with np.load(DATA / "vww" / "dev128.npz") as arrays:
        pictures, labels = arrays["x"][::every], arrays["y"].reshape(-1)[::every]
    for picture, label in zip(pictures, labels, strict=True):
        yield {name: picture.astype(np.float32) / 255}, int(label)
