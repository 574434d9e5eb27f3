"""Weights of few different values: float numbers that a target stores as places in a table.

The values are those of k-means (see `clusters`), rounded to the type that tables have in the file;
each weight becomes the nearest one. The model stays an ordinary float model, and is exactly what
the file computes. A weight has one table, or, with `group_size`, one for every `group_size` output
channels; where their number is no multiple of it, it falls back to one table.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.clusters import cluster, nearest
from edgewise.calibration.scheme import Palette

Array = npt.NDArray[Any]

_EXCLUDED = "edgewise.excluded"
_HALF = np.finfo(np.float16)


def palettize(weight: Array, axis: int, palette: Palette) -> npt.NDArray[np.float32]:
    """The weight with at most `2**bits` different values in each of `groups_of`."""
    result = np.empty(weight.shape, np.float32)
    for part in groups_of(weight.shape, axis, palette.group_size):
        values = _storable(cluster(weight[part], 1 << palette.bits), palette)
        result[part] = values[nearest(weight[part], values)]
    return result


def groups_of(shape: tuple[int, ...], axis: int, group_size: int) -> list[tuple[slice, ...]]:
    """What shares a table: all of the weight, or `group_size` neighbours along the axis each."""
    if not group_size or shape[axis] % group_size:
        return [(slice(None),) * len(shape)]
    starts = range(0, shape[axis], group_size)
    before = (slice(None),) * axis
    return [(*before, slice(start, start + group_size)) for start in starts]


def _storable(values: Array, palette: Palette) -> npt.NDArray[np.float32]:
    """The values in the type that tables have; float16 where its normal numbers hold them."""
    largest = np.abs(values).max(initial=0.0)
    fits = float(_HALF.smallest_normal) <= largest <= float(_HALF.max)
    half = palette.value_dtype == "float16" and fits
    return np.unique(values.astype(np.float16 if half else np.float32).astype(np.float32))


def mark_excluded(model: ir.Model, exclude: Collection[str]) -> None:
    """Have the model say which nodes keep their own values, for it looks like any float model."""
    for node in model.graph:
        if node.name in exclude:
            node.metadata_props[_EXCLUDED] = "true"


def is_excluded(node: ir.Node) -> bool:
    return _EXCLUDED in node.metadata_props
