"""What channels of tensors hold over calibration data: reduced sample by sample.

Positions that a mask hides, such as padding tokens, are left out: most positions of a batch of
texts may be such ones, and what holds for them says nothing of the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.masked_positions import Positions, masked_positions
from edgewise.data.source import Sample
from edgewise.graph import OrtSession

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Visible:
    """The positions of a model's tensors that no mask hides."""

    positions: tuple[Positions, ...]

    @classmethod
    def of(cls, model: ir.Model) -> Visible:
        return cls(masked_positions(model))

    @property
    def fetched(self) -> tuple[str, ...]:
        """The tensors that tell which positions count."""
        groups = (group for part in self.positions for group in part.mixed)
        return tuple(dict.fromkeys(name for group in groups for name, _ in group))

    def kept(self, values: Mapping[str, Array]) -> dict[str, list[tuple[int, npt.NDArray[Any]]]]:
        """For each tensor with hidden positions in a sample: axes, and the positions to take."""
        found: dict[str, list[tuple[int, npt.NDArray[Any]]]] = {}
        for part in self.positions:
            places = part.kept(values)
            if places is None:
                continue
            for name, axes in part.axes.items():
                found.setdefault(name, []).extend((axis, places) for axis in axes)
        return found


def taken(array: Array, kept: Iterable[tuple[int, npt.NDArray[Any]]]) -> Array:
    """The array without its hidden positions."""
    for axis, places in kept:
        array = array.take(places, axis)
    return array


@dataclass(frozen=True, slots=True, eq=False)
class ChannelValues:
    """Per channel, float64 (C,): extremes, sum and sum of squares of `count` values."""

    minimum: Vector
    maximum: Vector
    total: Vector
    squares: Vector
    count: int

    @classmethod
    def of(cls, array: npt.NDArray[Any], axis: int) -> ChannelValues:
        """Of one float tensor of any shape, with channels along `axis`."""
        rows = by_channel(array, axis)
        return cls(
            rows.min(axis=1).astype(np.float64),
            rows.max(axis=1).astype(np.float64),
            rows.sum(axis=1, dtype=np.float64),
            np.einsum("ij,ij->i", rows, rows, dtype=np.float64),
            rows.shape[1],
        )

    def __add__(self, other: ChannelValues) -> ChannelValues:
        return ChannelValues(
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
            self.total + other.total,
            self.squares + other.squares,
            self.count + other.count,
        )

    @property
    def magnitude(self) -> Vector:
        return np.maximum(-self.minimum, self.maximum)

    @property
    def mean(self) -> Vector:
        return self.total / self.count

    @property
    def mean_square(self) -> Vector:
        return self.squares / self.count


def observe_channels(
    model: ir.Model, samples: Iterable[Sample], axes: Mapping[str, int], *, threads: int = 1
) -> dict[str, ChannelValues]:
    """Channel values of tensors of `model` over all samples; nothing where there are none.

    Memory holds one sample's tensors, whatever the number of samples.

    Args:
        axes: for each tensor, the axis of its channels.
    """
    totals: dict[str, ChannelValues] = {}
    for tensors in tensors_of(model, samples, axes, threads=threads):
        for name, array in tensors.items():
            new = ChannelValues.of(array, axes[name])
            totals[name] = totals[name] + new if name in totals else new
    return totals


def tensors_of(
    model: ir.Model, samples: Iterable[Sample], names: Collection[str], *, threads: int = 1
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """The named tensors for each sample, without hidden positions; none of them is an input."""
    visible = Visible.of(model)
    own = {value.name for value in model.graph.inputs}
    wanted = [name for name in dict.fromkeys((*names, *visible.fetched)) if name not in own]
    session = OrtSession(with_outputs(model, wanted), threads=threads, optimize="all")
    for sample in samples:
        values = {**sample.feeds, **session.run(sample.feeds, wanted)}
        kept = visible.kept(values)
        yield {name: taken(values[name], kept.get(name, ())) for name in names}


def by_channel(array: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """The array as (C, all others)."""
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)


def with_outputs(model: ir.Model, names: Collection[str]) -> ir.Model:
    """A copy whose outputs include the named values."""
    copy = ir.from_proto(ir.to_proto(model))
    present = {value.name for value in copy.graph.outputs}
    for node in copy.graph:
        for value in node.outputs:
            if value.name in names and value.name not in present:
                copy.graph.outputs.append(value)
    return copy
