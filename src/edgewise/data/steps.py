"""Texts as the steps of a decoder: one token, or a fixed number of them, after the other.

The caches that a step is given are those that the model itself made in the step before, zeros at
the first step of a text. The label is the token that follows, so that `top1` is the share of tokens
that are predicted right.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from edgewise.data.selection import spread
from edgewise.data.source import Array, InputSpec, Sample
from edgewise.data.specs import fit_array
from edgewise.data.tables import TextTable
from edgewise.data.text import TextPreprocessing
from edgewise.errors import DataError
from edgewise.files import sha256
from edgewise.findings import Finding

TOKENS, POSITION = "input_ids", "cache_position"
#: runs the model: arrays by input name to arrays by output name
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]


class StepSource:
    """Implements `DataSource`. A limit counts steps, spread over all texts."""

    def __init__(
        self,
        table: TextTable,
        inputs: Sequence[InputSpec],
        text: TextPreprocessing,
        open_run: Callable[[], Run],
        *,
        description: str,
        limit: int | None = None,
    ) -> None:
        self._table, self._text, self._open_run = table, text, open_run
        self._inputs = {spec.name: spec for spec in inputs}
        strange = set(self._inputs) - {TOKENS, POSITION, *text.states}
        if strange:
            raise DataError(f"texts do not feed input '{min(strange)}'", where=description)
        self._tokenizer = text.open()
        self._tokenizer.no_padding()
        tokens = self._inputs[TOKENS].shape[1]
        self._tokens = tokens if isinstance(tokens, int) else 1
        self.description = description
        self.labelled = self._tokens == 1
        self.class_names: tuple[str, ...] = ()
        self.findings: list[Finding] = []
        count = sum(self._steps(len(ids)) for _, ids in self._encoded())
        if not count:
            raise DataError(
                "there is no step in these texts",
                where=description,
                why=f"none is longer than {self._tokens} tokens",
            )
        self._chosen = spread(count, limit)

    @cached_property
    def fingerprint(self) -> str:
        settings = [self._text.as_dict(), list(self._table.texts), self._chosen]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        digest.update(repr((list(self._inputs.values()), self._table.chosen)).encode())
        digest.update(sha256(self._table.path).encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._chosen)

    def __iter__(self) -> Iterator[Sample]:
        run, chosen, last = self._open_run(), set(self._chosen), self._chosen[-1]
        index = 0
        for line, ids in self._encoded():
            caches = self._empty()
            for step in range(self._steps(len(ids))):
                start = step * self._tokens
                name = f"{self._table.path.name}, line {line}, token {start}"
                feeds = self._feeds(ids, start, caches, name)
                if index in chosen:
                    follows = ids[start + self._tokens] if self.labelled else None
                    yield Sample(feeds, follows, name)
                if index == last:
                    return
                outputs = run(feeds)
                caches = {key: outputs[result] for key, result in self._text.states.items()}
                index += 1

    def _encoded(self) -> Iterator[tuple[int, Sequence[int]]]:
        for row in self._table.rows():
            yield row.line, self._tokenizer.encode(row.texts[0]).ids

    def _steps(self, tokens: int) -> int:
        """The last token is only predicted."""
        return max(tokens - 1, 0) // self._tokens

    def _empty(self) -> dict[str, Array]:
        return {
            name: np.zeros([int(str(dim)) for dim in self._inputs[name].shape], spec.dtype)
            for name, spec in self._inputs.items()
            if name in self._text.states
        }

    def _feeds(
        self, ids: Sequence[int], start: int, caches: Mapping[str, Array], name: str
    ) -> dict[str, Array]:
        tokens = np.asarray([ids[start : start + self._tokens]], np.int64)
        feeds = {TOKENS: fit_array(tokens, self._inputs[TOKENS], name)}
        if POSITION in self._inputs:
            feeds[POSITION] = np.asarray([start], self._inputs[POSITION].dtype)
        return {**feeds, **caches}
