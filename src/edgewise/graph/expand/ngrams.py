"""TfIdfVectorizer over integers: how often each n-gram of a pool occurs in a sequence.

The pool lists n-grams of growing length; `ngram_counts[n - 1]` is where those of length n begin,
and each has a place in the output. An n-gram with skips is a run of tokens at equal distances
`1 ... max_skip_count + 1` (length 1 has no distance). So for every length and distance
  windows[p, j] = x[p + j * distance]                 (a Slice for each j)
  found[p, g]   = all over j of windows[p, j] == gram[g, j]
and the sum of `found` over places p, in every distance, is the count of gram g.
  TF     the counts
  IDF    weights where a count is not 0
  TFIDF  counts times weights
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.graph.expand.expansion import CannotExpand, Expansion


def expand_tf_idf_vectorizer(e: Expansion) -> Sequence[ir.Value]:
    shape = e.shape()
    pool = e.attribute("pool_int64s")
    if not pool:
        raise CannotExpand("its pool holds strings", "Turn words into numbers before the model.")
    x, length = e.input(0), shape[-1]
    totals = [
        _matrix_counts(e, x, length, size, grams, places)
        for size, grams, places in _grams(e, np.array(pool))
    ]
    width = max(e.attribute("ngram_indexes")) + 1
    counted = [total for parts in totals for total in parts]
    if not counted:
        return [e.array(np.zeros((*shape[:-1], width), np.float32))]
    total = counted[0]
    for other in counted[1:]:
        total = e.op("Add", total, other)
    return [_weighted(e, total, width)]


def _grams(
    e: Expansion, pool: npt.NDArray[Any]
) -> Iterator[tuple[int, npt.NDArray[Any], npt.NDArray[Any]]]:
    """Per length that is wanted: the n-grams (count, length), and their places in the output."""
    begins = [*e.attribute("ngram_counts"), len(pool)]
    places = np.array(e.attribute("ngram_indexes"))
    shortest, longest = e.attribute("min_gram_length"), e.attribute("max_gram_length")
    seen = 0
    for size, (begin, end) in enumerate(pairwise(begins), start=1):
        count = (end - begin) // size
        if shortest <= size <= longest and count:
            yield size, pool[begin:end].reshape(count, size), places[seen : seen + count]
        seen += count


def _matrix_counts(
    e: Expansion,
    x: ir.Value,
    length: int,
    size: int,
    grams: npt.NDArray[Any],
    places: npt.NDArray[Any],
) -> list[ir.Value]:
    """The counts of n-grams of one length in the places of the output, per distance."""
    rank, width = len(e.shape()), max(e.attribute("ngram_indexes")) + 1
    distances = range(1, 2 if size == 1 else e.attribute("max_skip_count") + 2)
    placed = np.zeros((len(grams), width), np.float32)
    placed[np.arange(len(grams)), places] = 1
    results = []
    for distance in distances:
        windows = length - (size - 1) * distance
        if windows < 1:
            continue
        found = None
        for position in range(size):
            begin = position * distance
            part = e.op("Slice", x, e.ints([begin]), e.ints([begin + windows]), e.ints([rank - 1]))
            column = e.op("Unsqueeze", part, e.ints([rank]))
            equal = e.op("Equal", column, e.array(grams[:, position].astype(e.dtype())))
            found = equal if found is None else e.op("And", found, equal)
        number = e.op("Cast", found, to=int(ir.DataType.FLOAT))
        count = e.op("ReduceSum", number, e.ints([rank - 1]), keepdims=0)
        flat = e.op("Reshape", count, e.ints([-1, len(grams)]))
        total = e.op("MatMul", flat, e.array(placed))
        results.append(e.op("Reshape", total, e.ints([*e.shape()[:-1], width])))
    return results


def _weighted(e: Expansion, counts: ir.Value, width: int) -> ir.Value:
    mode = e.attribute("mode")
    if mode == "TF":
        return counts
    given = e.attribute("weights")
    weights = np.ones(width, np.float32)
    if given:
        weights[np.array(e.attribute("ngram_indexes"))] = given
    if mode == "IDF":
        present = e.op("Greater", counts, e.array(np.float32(0)))
        counts = e.op("Cast", present, to=int(ir.DataType.FLOAT))
    weighted: ir.Value = e.op("Mul", counts, e.array(weights))
    return weighted
