"""Texts of a file as examples of a model, tokenized as they are asked for.

What a row becomes, by what the model does with two texts (`TextPreprocessing.pairs`):

1. one text: one example
2. two texts `together`: one example, both in one sequence
3. two texts `apart`: two examples one after the other, whose outputs are compared. Their label, the
   score of the pair, is a `PairHalf`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from edgewise.data.class_numbers import numbered
from edgewise.data.selection import spread
from edgewise.data.source import InputSpec, PairHalf, Sample
from edgewise.data.tables import Row, TextTable
from edgewise.data.text import TextPreprocessing, encoded
from edgewise.errors import DataError
from edgewise.files import sha256
from edgewise.findings import Finding


class TextSource:
    """Holds labels, but no text. A limit counts examples: of pairs `apart`, half as many rows.

    Implements `DataSource`.
    """

    def __init__(
        self,
        table: TextTable,
        inputs: Sequence[InputSpec],
        text: TextPreprocessing,
        *,
        description: str,
        limit: int | None = None,
        model_labels: Sequence[str] = (),
    ) -> None:
        self._table = table
        self._inputs = tuple(inputs)
        self._text = text.for_inputs(inputs)
        self._tokenizer = self._text.open()
        self._apart = text.pairs == "apart" and len(table.texts) == 2
        self.description = description
        self.class_names: tuple[str, ...] = ()
        self.findings: list[Finding] = []
        self.labelled = table.label is not None
        labels = [row.label for row in table.rows()]
        if not labels:
            raise _no_rows(table)
        numbers: Sequence[Any] = labels
        if self.labelled:
            numbers, self.class_names = numbered(labels, model_labels, str(table.path))
        rows = limit if limit is None or not self._apart else max(limit // 2, 1)
        by_label = numbers if self.labelled and not self._apart else None
        self._chosen = spread(len(labels), rows, by_label)
        self._labels = {index: numbers[index] for index in self._chosen if self.labelled}

    @cached_property
    def fingerprint(self) -> str:
        settings = {**self._text.as_dict(), "columns": [*self._table.texts, self._table.label]}
        digest = hashlib.sha256(json.dumps([settings, self._chosen], sort_keys=True).encode())
        digest.update(repr((self._inputs, self._table.chosen)).encode())
        digest.update(sha256(self._table.path).encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._chosen) * (2 if self._apart else 1)

    def __iter__(self) -> Iterator[Sample]:
        chosen = set(self._chosen)
        for index, row in enumerate(self._table.rows()):
            if index in chosen:
                yield from self._samples(index, row)

    def _samples(self, index: int, row: Row) -> Iterator[Sample]:
        name = f"{self._table.path.name}, line {row.line}"
        label = self._labels.get(index)
        if not self._apart:
            yield Sample(self._encode(row.texts, name), label, name)
            return
        for text in row.texts:
            half = None if label is None else PairHalf(index, float(label))
            yield Sample(self._encode((text,), name), half, name)

    def _encode(self, texts: Sequence[str], name: str) -> dict[str, Any]:
        return encoded(self._tokenizer, texts, self._inputs, name)


def _no_rows(table: TextTable) -> DataError:
    why = "" if table.chosen is None else f"no row has {table.chosen[0]} = {table.chosen[1]}"
    return DataError("no row is selected", where=str(table.path), why=why)
