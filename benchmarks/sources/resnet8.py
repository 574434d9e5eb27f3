"""CIFAR-10 as MLPerf Tiny's ResNet-8 (`resnet8.h5`) takes it: raw pixels, channels last.

Data are `calib500.npz` and `eval2000.npz` (`x`: uint8 pictures (N, 32, 32, 3), `y`: classes) in
`$DATA/cifar10`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from data_folder import DATA

Example = tuple[dict[str, npt.NDArray[np.float32]], int]


def calibration() -> Iterator[Example]:
    return _examples("calib500.npz")


def evaluation() -> Iterator[Example]:
    return _examples("eval2000.npz")


def _examples(name: str) -> Iterator[Example]:
    with np.load(DATA / "cifar10" / name) as arrays:
        pictures, labels = arrays["x"], arrays["y"].reshape(-1)
    for picture, label in zip(pictures, labels, strict=True):
        yield {"input_1": picture.astype(np.float32)}, int(label)
