"""Inputs for MLPerf Tiny's anomaly detection autoencoder (`ad01.h5`), for which no data are here.

Its inputs are five frames of 128 log-mel energies in decibels. These are made up: random walks in
the range of real ones. They show that artifacts compute what the model computes, not how well it
finds anomalies.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_FRAMES, _BANDS = 5, 128

Example = dict[str, npt.NDArray[np.float32]]


def calibration() -> Iterator[Example]:
    return _examples(seed=0, count=200)


def evaluation() -> Iterator[Example]:
    return _examples(seed=1, count=100)


def _examples(seed: int, count: int) -> Iterator[Example]:
    generator = np.random.default_rng(seed)
    for _ in range(count):
        spectrum = np.cumsum(generator.normal(0, 2, _BANDS)) - 20
        frames = spectrum + generator.normal(0, 3, (_FRAMES, _BANDS))
        yield {"input_1": frames.reshape(-1).astype(np.float32)}
