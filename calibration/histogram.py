"""Histograms of fixed size that add up exactly.

`BINS` bins split [-2**e, 2**e) evenly, and `e` is the smallest exponent that holds every value
seen. When `e` grows by one, bins merge in pairs around zero; dyadic edges nest, so that no count
ever has to be split, and the order of additions leaves no trace.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 4096
_HALF = BINS // 2
#: arrays up to this size enter the histogram whole
SAMPLED_ABOVE = 16_384
#: larger arrays enter with every 11th value, and very large ones with every 37th: primes that
#: divide no usual image width, so that no column of a picture is preferred
SAMPLE_STRIDE = 11
WIDELY_SAMPLED_ABOVE = 262_144
WIDE_STRIDE = 37
#: values below 2**-100 share the two bins beside zero
MIN_EXPONENT = -100
#: float32 arithmetic on the values loses nothing while they are scaled up
_FLOAT32_SCALES_UP = 11


def sampled(flat: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The values of a flat array that enter its histogram, side by side in memory."""
    if flat.size <= SAMPLED_ABOVE:
        return flat
    stride = SAMPLE_STRIDE if flat.size <= WIDELY_SAMPLED_ABOVE else WIDE_STRIDE
    return np.ascontiguousarray(flat[::stride])


def exponent_of(largest: float) -> int:
    """The smallest exponent of a histogram that holds values of this magnitude."""
    # frexp: largest = m * 2**e with m < 1, so every value lies strictly inside the range
    return max(math.frexp(largest)[1], MIN_EXPONENT) if largest else MIN_EXPONENT


def counted(values: npt.NDArray[Any], exponent: int) -> npt.NDArray[np.int64]:
    """The counts of finite values in the bins over [-2**exponent, 2**exponent)."""
    exact = np.float32 if exponent <= _FLOAT32_SCALES_UP else np.float64
    scaled = np.multiply(values, exact(math.ldexp(_HALF, -exponent)), dtype=exact)
    bins = np.floor(scaled, out=scaled).astype(np.int32)
    bins += _HALF
    return np.bincount(bins, minlength=BINS)


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Counts int64 (BINS,) over [-2**exponent, 2**exponent); bin i starts at (i - BINS/2) width."""

    exponent: int
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, values: npt.NDArray[Any], largest: float) -> Histogram:
        """The histogram of finite `values`, none of which exceeds `largest` in magnitude."""
        exponent = exponent_of(largest)
        return cls(exponent, counted(values, exponent))

    @property
    def width(self) -> float:
        """Width of one bin: a power of two."""
        return math.ldexp(1.0, self.exponent) / _HALF

    def edges(self) -> npt.NDArray[np.float64]:
        """The BINS + 1 bin edges, exact."""
        return (np.arange(BINS + 1, dtype=np.float64) - _HALF) * self.width

    def widened(self, exponent: int) -> Histogram:
        """The same counts over the range of a larger exponent."""
        if exponent == self.exponent:
            return self
        shift = min(exponent - self.exponent, 62)  # a larger shift empties all but the middle bins
        moved = ((np.arange(BINS) - _HALF) >> shift) + _HALF
        counts = np.zeros(BINS, np.int64)
        np.add.at(counts, moved, self.counts)
        return Histogram(exponent, counts)

    def __add__(self, other: Histogram) -> Histogram:
        exponent = max(self.exponent, other.exponent)
        counts = self.widened(exponent).counts + other.widened(exponent).counts
        return Histogram(exponent, counts)
