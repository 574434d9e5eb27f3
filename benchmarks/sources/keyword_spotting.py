"""Spoken commands as MLPerf Tiny's keyword spotting model takes them: 49 x 10 MFCC in float.

Data are `kws01_calib100.npz` and `kws01_eval400.npz` (`x_int8`: features (N, 49, 10, 1) in 8 bits,
`input_scale`, `input_zero_point`, `y`: classes) in `$DATA/kws`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from data_folder import DATA

Example = tuple[dict[str, npt.NDArray[np.float32]], int]


def calibration() -> Iterator[Example]:
    return _examples("kws01_calib100.npz")


def evaluation() -> Iterator[Example]:
    return _examples("kws01_eval400.npz")


def _examples(name: str) -> Iterator[Example]:
    with np.load(DATA / "kws" / name) as arrays:
        stored, labels = arrays["x_int8"].astype(np.float32), arrays["y"]
        features = (stored - arrays["input_zero_point"]) * arrays["input_scale"]
    for feature, label in zip(features.astype(np.float32), labels, strict=True):
        yield {"input_1": feature}, int(label)
