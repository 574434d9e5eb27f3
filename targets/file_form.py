"""Between the hub model's form of inputs and outputs and the file's, for sessions that run it.

Names, layouts, dtypes and quantization are those of the manifest (`base.to_file`, `from_file`).
A file with a fixed batch takes fewer examples as well, since data come one at a time: the last
example fills the batch, and the outputs are cut. That asks for examples that do not look at each
other, as inference does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgewise.errors import DataError, UsageError
from edgewise.targets.base import Array, Feeds, Manifest, TensorSignature, from_file, to_file


@dataclass(frozen=True, slots=True)
class Filling:
    """`given` examples in a batch of `batch`; 0 and 0 where nothing is filled."""

    given: int
    batch: int

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]], manifest: Manifest) -> Filling:
        """What the shapes of the feeds ask for: the manifest's fixed batch, where the feeds agree
        on fewer examples and differ from the artifact in nothing else."""
        batch = manifest.options.get("batch", 1)
        if not isinstance(batch, int) or batch == 1:
            return cls(0, 0)
        given = set()
        for tensor in manifest.inputs:
            shape, wanted = shapes[tensor.name], tuple(tensor.hub_shape)
            if shape == wanted:
                continue
            if not shape or shape[1:] != wanted[1:] or wanted[0] != batch or shape[0] > batch:
                return cls(0, 0)
            given.add(shape[0])
        return cls(given.pop(), batch) if len(given) == 1 else cls(0, 0)

    def fill(self, array: Array) -> Array:
        """The array with copies of its last example up to the batch."""
        if not self.batch or not array.ndim or array.shape[0] != self.given:
            return array
        return np.concatenate([array, np.repeat(array[-1:], self.batch - self.given, axis=0)])

    def cut(self, array: Array) -> Array:
        """What belongs to the given examples; an output without a batch stays whole."""
        if not self.batch or not array.ndim or array.shape[0] != self.batch:
            return array
        return array[: self.given]


@dataclass(frozen=True, slots=True)
class FileFeeds:
    """Inputs by the file's names, and what was added to them."""

    arrays: Mapping[str, Array]
    filling: Filling


class FileForm:
    """How the file of a manifest wants its inputs, and what its outputs stand for."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._inputs = {tensor.name: tensor for tensor in manifest.inputs}

    def to_file(self, feeds: Feeds) -> FileFeeds:
        """Raises UsageError for other inputs than the model's, DataError for a wrong shape."""
        if set(feeds) != set(self._inputs):
            raise UsageError(
                "the inputs are not the model's",
                why=f"given {', '.join(sorted(feeds)) or 'none'}; expected "
                f"{', '.join(self._inputs)}",
            )
        given = {name: np.asarray(feeds[name]) for name in self._inputs}
        filling = Filling.of({name: array.shape for name, array in given.items()}, self._manifest)
        arrays = {}
        for name, tensor in self._inputs.items():
            array = filling.fill(given[name])
            _check_shape(array, tensor)
            arrays[tensor.file_name] = to_file(array, tensor)
        return FileFeeds(arrays, filling)

    def from_file(self, outputs: Mapping[str, Array], filling: Filling) -> dict[str, Array]:
        """The outputs by the hub model's names."""
        return {
            tensor.name: filling.cut(from_file(outputs[tensor.file_name], tensor))
            for tensor in self._manifest.outputs
        }


def _check_shape(array: Array, tensor: TensorSignature) -> None:
    wanted = tensor.hub_shape
    fits = len(array.shape) == len(wanted) and all(
        not isinstance(dim, int) or dim == have
        for dim, have in zip(wanted, array.shape, strict=True)
    )
    if not fits:
        raise DataError(
            f"input '{tensor.name}' has the shape {tuple(array.shape)}",
            why=f"the artifact was built for ({', '.join(str(dim) for dim in wanted)})",
        )
