"""What channels of tensors hold over calibration data: reduced sample by sample."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.data.source import DataSource
from edgewise.graph import OrtSession

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ChannelValues:
    """Per channel, float64 (C,): extremes, mean, and mean of squares, over all samples."""

    minimum: Vector
    maximum: Vector
    mean: Vector
    mean_square: Vector

    @property
    def magnitude(self) -> Vector:
        return np.maximum(-self.minimum, self.maximum)


def observe_channels(
    model: ir.Model,
    source: DataSource,
    axes: Mapping[str, int],
    *,
    limit: int | None = None,
    threads: int = 1,
) -> dict[str, ChannelValues]:
    """Channel values of tensors of `model`.

    Memory holds one sample's tensors, whatever the number of samples.

    Args:
        axes: for each tensor, the axis of its channels.
        limit: use the first `limit` samples.
    """
    session = OrtSession(with_outputs(model, axes), threads=threads, optimize="all")
    totals: dict[str, list[Any]] = {}
    for sample in islice(source, limit):
        for name, array in session.run(sample.feeds, list(axes)).items():
            rows = np.moveaxis(array, axes[name], 0).reshape(array.shape[axes[name]], -1)
            new = [
                rows.min(axis=1), rows.max(axis=1), rows.sum(axis=1, dtype=np.float64),
                np.einsum("ij,ij->i", rows, rows, dtype=np.float64), rows.shape[1],
            ]  # fmt: skip
            old = totals.get(name)
            if old is not None:
                low, high = np.minimum(old[0], new[0]), np.maximum(old[1], new[1])
                new = [low, high, *(a + b for a, b in zip(old[2:], new[2:], strict=True))]
            totals[name] = new
    return {
        name: ChannelValues(
            low.astype(np.float64), high.astype(np.float64), total / count, squares / count
        )
        for name, (low, high, total, squares, count) in totals.items()
    }


def with_outputs(model: ir.Model, names: Collection[str]) -> ir.Model:
    """A copy whose outputs include the named values."""
    copy = ir.from_proto(ir.to_proto(model))
    present = {value.name for value in copy.graph.outputs}
    for node in copy.graph:
        for value in node.outputs:
            if value.name in names and value.name not in present:
                copy.graph.outputs.append(value)
    return copy
