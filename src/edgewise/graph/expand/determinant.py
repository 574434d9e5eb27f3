"""Det: the determinant of square matrices of a small fixed size, by Laplace's expansion.

The minors of the first k rows, one per choice of k columns, give those of k + 1 rows:
`minor(S) = sum over j in S of (-1)^(position of j in S + k) * a[k, j] * minor(S without j)`.
So one Gather picks the entries, one the minors, and a sum over the products of both with the signs
makes the next row of minors: four operators per row, whatever the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import CannotExpand, Expansion

#: 70 minors at most; beyond it the number of products grows out of hand, and so does rounding
_LARGEST = 8


def expand_det(e: Expansion) -> Sequence[ir.Value]:
    x, shape = e.input(0), e.shape()
    size = shape[-1]
    if size > _LARGEST:
        raise CannotExpand(
            f"determinants of matrices above {_LARGEST} x {_LARGEST} are not expanded",
            "Compute the determinant outside of the model.",
        )
    minors: ir.Value = _row(e, x, 0)
    chosen = list(combinations(range(size), 1))
    for row in range(1, size):
        smaller = {columns: index for index, columns in enumerate(chosen)}
        chosen = list(combinations(range(size), row + 1))
        without = [[smaller[s[:p] + s[p + 1 :]] for p in range(len(s))] for s in chosen]
        signs = np.array([(-1.0) ** (row + p) for p in range(row + 1)], np.float32)
        entries = e.op("Gather", _row(e, x, row), e.ints(np.array(chosen).tolist()), axis=-1)
        parts = e.op("Gather", minors, e.ints(np.array(without).tolist()), axis=-1)
        products = e.op("Mul", e.op("Mul", entries, e.array(signs)), parts)
        minors = e.op("ReduceSum", products, e.ints([-1]), keepdims=0)
    return [e.op("Squeeze", minors, e.ints([-1]))]


def _row(e: Expansion, x: ir.Value, index: int) -> ir.Value:
    row: ir.Value = e.op("Gather", x, e.ints(index), axis=-2)
    return row
