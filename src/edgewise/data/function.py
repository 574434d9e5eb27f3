"""A Python function of the user's that yields examples."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from edgewise.data.source import Array, InputSpec, Sample
from edgewise.data.specs import fit_feeds
from edgewise.errors import DataError, UsageError
from edgewise.findings import Finding
from edgewise.references import describe

_REMEDY = "Yield (feeds, label), where feeds maps input names to arrays."


class FunctionSource:
    """Calls the function anew for each walk over the data.

    It takes no argument and gives an iterable of `(feeds, label)`, or of `feeds` alone where there
    is no label. Arrays may have the batch axis of 1 or lack it. A limit keeps the first examples,
    since the end of the stream is unknown. `len` and `fingerprint` walk it once, and remember.
    """

    def __init__(
        self,
        function: Callable[[], Iterable[Any]],
        inputs: Sequence[InputSpec],
        *,
        description: str,
        limit: int | None = None,
    ) -> None:
        if limit is not None and limit < 1:
            raise UsageError(f"the limit must be at least 1, found {limit}")
        self._function = function
        self._inputs = tuple(inputs)
        self._limit = limit
        self.description = description
        self.class_names: tuple[str, ...] = ()
        self.findings: list[Finding] = []
        first = next(iter(self), None)
        if first is None:
            raise DataError("the function yields nothing", where=description, remedy=_REMEDY)
        self.labelled = first.label is not None

    @cached_property
    def _walk(self) -> tuple[str, int]:
        """Fingerprint and number of examples."""
        digest, count = hashlib.sha256(repr(self._inputs).encode()), 0
        for sample in self:
            count += 1
            for name in sorted(sample.feeds):
                array = sample.feeds[name]
                digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
                digest.update(array.tobytes())
            label = np.asarray(sample.label)
            if not label.dtype.hasobject:
                digest.update(label.tobytes())
        return digest.hexdigest(), count

    @cached_property
    def fingerprint(self) -> str:
        return self._walk[0]

    def __len__(self) -> int:
        return self._walk[1]

    def __iter__(self) -> Iterator[Sample]:
        for index, item in enumerate(islice(self._items(), self._limit)):
            feeds, label = self._split(item, index)
            where = f"{self.description}, example {index}"
            yield Sample(fit_feeds(feeds, self._inputs, where), label, f"example {index}")

    def _items(self) -> Iterator[Any]:
        try:
            yield from self._function()
        except Exception as error:  # user code may raise anything
            raise DataError(
                "the function failed", where=self.description, why=describe(error)
            ) from error

    def _split(self, item: Any, index: int) -> tuple[Mapping[str, Array], Any]:
        feeds, label = item if isinstance(item, tuple) and len(item) == 2 else (item, None)
        if not isinstance(feeds, Mapping):
            raise DataError(
                f"example {index} is not of the expected form",
                where=self.description,
                why=f"found {type(item).__name__}",
                remedy=_REMEDY,
            )
        return feeds, label.item() if isinstance(label, np.generic) else label
