"""How far two sets of outputs are apart, gathered example by example in constant memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from edgewise.data.source import Array
from edgewise.errors import InternalError

Floats = npt.NDArray[np.float64]
Outputs = Mapping[str, Array]


def decibels(signal: float, error: float) -> float | None:
    """10 log10(signal / error), powers; None without error, or without signal."""
    return float(10 * np.log10(signal / error)) if signal > 0 and error > 0 else None


def paired(expected: Outputs, actual: Outputs) -> Iterator[tuple[str, Floats, Floats]]:
    """Name, expected and actual array in float64 of every output.

    Raises InternalError when an output is missing or has another shape: a session must speak the
    hub model's names and layouts.
    """
    for name, wanted in expected.items():
        if name not in actual:
            raise InternalError(f"the artifact gives no output '{name}'")
        found = actual[name]
        if found.shape != wanted.shape:
            raise InternalError(
                f"output '{name}' of the artifact has shape {list(found.shape)}",
                why=f"the reference has {list(wanted.shape)}",
            )
        yield name, wanted.astype(np.float64), found.astype(np.float64)


def _is_map(output: Floats) -> bool:
    return output.ndim > 3 and max(output.shape[1:-1]) > 1


class Agreement:
    """Sums over all elements of all outputs; argmax over the last axis of the first output."""

    def __init__(self) -> None:
        self.samples = 0
        self.identical = True
        self.max_abs_error = 0.0
        #: outputs in which the artifact gave NaN or infinity where the reference did not
        self.not_finite: list[str] = []
        #: name of the example with the lowest ratio of signal to error
        self.worst_sample: str | None = None
        self._worst_ratio = np.inf
        self._expected_power = self._actual_power = self._error_power = self._product = 0.0
        self._rows = self._agreeing_rows = 0

    def observe(self, expected: Outputs, actual: Outputs, sample: str = "") -> None:
        self.samples += 1
        signal = error = 0.0
        for index, (name, wanted, found) in enumerate(paired(expected, actual)):
            if not index:
                self._compare_argmax(wanted, found)
            if np.array_equal(wanted, found, equal_nan=True):
                power = float(np.sum(wanted**2, where=np.isfinite(wanted)))
                signal += power
                self._actual_power += power
                self._product += power
                continue
            self.identical = False
            finite = np.isfinite(wanted)
            if not np.isfinite(found[finite]).all():
                if name not in self.not_finite:
                    self.not_finite.append(name)
                continue
            wanted, found = wanted[finite], found[finite]
            difference = found - wanted
            self.max_abs_error = max(self.max_abs_error, float(np.abs(difference).max(initial=0)))
            signal += float(np.sum(wanted**2))
            error += float(np.sum(difference**2))
            self._actual_power += float(np.sum(found**2))
            self._product += float(np.sum(wanted * found))
        self._expected_power += signal
        self._error_power += error
        ratio = signal / error if error else np.inf
        if ratio < self._worst_ratio:
            self._worst_ratio, self.worst_sample = ratio, sample or None

    def _compare_argmax(self, wanted: Floats, found: Floats) -> None:
        if wanted.ndim and wanted.shape[-1] > 1 and not _is_map(wanted):
            same = wanted.argmax(axis=-1) == found.argmax(axis=-1)
            self._rows += same.size
            self._agreeing_rows += int(np.count_nonzero(same))

    @property
    def sqnr_db(self) -> float | None:
        """Signal to quantization noise; None when the outputs are identical."""
        return decibels(self._expected_power, self._error_power)

    @property
    def cosine(self) -> float | None:
        """Cosine of the angle between all outputs, each set taken as one vector."""
        scale = float(np.sqrt(self._expected_power) * np.sqrt(self._actual_power))
        return self._product / scale if scale else None

    @property
    def argmax_agreement(self) -> float | None:
        """Share of rows with the same argmax, 0..1; None where rows have a single value, or the
        output is a map over two axes or more, whose last axis is a place and not a class."""
        return self._agreeing_rows / self._rows if self._rows else None

    @property
    def not_finite_reason(self) -> str | None:
        """Why figures are missing: the artifact gave NaN or infinity. None where it did not."""
        if not self.not_finite:
            return None
        return f"the artifact gives NaN or infinity in {', '.join(self.not_finite)}"
