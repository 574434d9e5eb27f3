"""How far two arrays are apart: the terms in which parity is told."""

from __future__ import annotations

import numpy as np

from edgewise.exporters.opened import Array


def compare(reference: Array, found: Array) -> tuple[float, float]:
    """Largest absolute difference, and that over the largest magnitude of `reference`.

    Infinite where shapes or the places of NaN differ. Equal infinities count as equal.
    """
    if reference.shape != found.shape:
        return np.inf, np.inf
    if not reference.size:
        return 0.0, 0.0
    if reference.dtype.kind not in "biufV" or found.dtype.kind not in "biufV":  # strings
        return (0.0, 0.0) if np.array_equal(reference, found) else (np.inf, np.inf)
    wide, other = reference.astype(np.float64), found.astype(np.float64)
    differing = ~((wide == other) | (np.isnan(wide) & np.isnan(other)))
    if not differing.any():
        return 0.0, 0.0
    error = float(np.abs(wide[differing] - other[differing]).max())
    largest = float(np.abs(wide[np.isfinite(wide)]).max(initial=0.0))
    if not np.isfinite(error):
        return np.inf, np.inf
    return error, error / largest if largest else np.inf


def same_top(reference: Array, found: Array) -> tuple[int, int]:
    """Of how many rows along the last axis the largest value is at the same place, and how many
    rows there are."""
    first = np.argmax(reference.astype(np.float64), axis=-1)
    second = np.argmax(found.astype(np.float64), axis=-1)
    return int((first == second).sum()), int(first.size)
