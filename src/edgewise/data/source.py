"""What a data source is: a stream of samples that can be walked again, never all in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgewise.findings import Finding

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One model input as data must be shaped for it; symbolic dimensions are names or None."""

    name: str
    shape: tuple[int | str | None, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class PairHalf:
    """The label of one of two examples whose outputs are compared: both have the same `pair` and
    the same score."""

    pair: int
    score: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One example: arrays per input name with a leading batch axis of 1, and its label."""

    feeds: Mapping[str, Array]
    label: Any | None = None
    name: str = ""  # file or index, for messages and the worst-sample list


class DataSource(Protocol):
    """Iterating opens the data anew each time and yields one `Sample` after another.

    Iteration raises DataError, naming the file or index, for anything unreadable, for NaN or
    infinity, and for a shape that does not fit the model.
    """

    #: what the user wrote, for messages
    description: str
    labelled: bool
    #: class names by index where the source knows them
    class_names: tuple[str, ...]
    #: remarks gathered so far, such as pictures converted from grayscale
    findings: list[Finding]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the content and the preprocessing: the same data gives the same value."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Sample]: ...
