"""Fewer examples than a fixed batch holds: the last one fills it, and the outputs are cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgewise.targets.base import Array, Manifest


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
