"""Sizes that depend on the batch, computed in the graph.

`fixed + factors * batch` is SHAPE of an input, STRIDED_SLICE to its batch, MUL and ADD. LiteRT
computes such vectors while it allocates tensors, so shapes stay known to it and to its delegates,
and nothing of this runs with the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgewise.targets.android.model import INT32, Array, Graph, Operator, Tensor

_ORIGIN = "batch"


@dataclass(slots=True)
class SizeVectors:
    """Makes each vector once; `operators` must run before those that read the vectors.

    `source` is a graph input whose physical axis `axis` is the batch.
    """

    source: Tensor
    axis: int
    operators: list[Operator] = field(default_factory=list)
    _batch: Tensor | None = None
    _vectors: dict[tuple[bytes, bytes], Tensor] = field(default_factory=dict)

    def vector(self, fixed: Array, factors: Array) -> Tensor:
        """The int32 tensor `fixed + factors * batch`."""
        fixed, factors = fixed.astype(np.int32), factors.astype(np.int32)
        key = fixed.tobytes(), factors.tobytes()
        if key not in self._vectors:
            sizes = self.add("MUL", [self._batch_size(), int32(factors)], fixed.shape)
            if fixed.any():
                sizes = self.add("ADD", [sizes, int32(fixed)], fixed.shape)
            self._vectors[key] = sizes
        return self._vectors[key]

    def _batch_size(self) -> Tensor:
        if self._batch is None:
            rank = len(self.source.shape)
            kind = schema.TensorType.INT32
            shape = self.add("SHAPE", [self.source], (rank,), outType=kind)
            bounds = [int32([self.axis]), int32([self.axis + 1]), int32([1])]
            self._batch = self.add("STRIDED_SLICE", [shape, *bounds], (1,))
        return self._batch

    def add(
        self, kind: str, inputs: Sequence[Tensor], shape: tuple[int, ...], **options: Any
    ) -> Tensor:
        """One of `operators`; gives its int32 output."""
        output = Tensor(shape, INT32)
        self.append(kind, inputs, output, **options)
        return output

    def append(self, kind: str, inputs: Sequence[Tensor], output: Tensor, **options: Any) -> None:
        """One of `operators`, with an output of any kind."""
        operator = Graph().add(kind, list(inputs), [output], _ORIGIN, None, options)
        self.operators.append(operator)


def int32(numbers: Any) -> Tensor:
    """A constant."""
    data = np.asarray(numbers, np.int32)
    return Tensor(data.shape, data.dtype, None, data)
