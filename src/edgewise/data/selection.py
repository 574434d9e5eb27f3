"""Which examples a limit keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgewise.errors import UsageError


def spread(count: int, limit: int | None, labels: Sequence[Any] | None = None) -> list[int]:
    """Ascending indices of at most `limit` of `count` examples, the same ones each time.

    They are spread evenly over the examples in order of their labels (in order of appearance where
    there are none), so that data sorted by class, and data whose classes take turns, both keep
    every class that `limit` leaves room for.

    Raises:
        UsageError: the limit is less than 1.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"the limit must be at least 1, found {limit}")
    if limit is None or limit >= count:
        return list(range(count))
    order = range(count) if labels is None else np.argsort(np.asarray(labels), kind="stable")
    return sorted(int(order[(2 * i + 1) * count // (2 * limit)]) for i in range(limit))
