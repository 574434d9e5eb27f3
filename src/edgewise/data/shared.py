"""A source of data that several threads walk at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from edgewise.data.source import DataSource, Sample
from edgewise.findings import Finding


class SharedSource:
    """Each thread walks the source by itself; one at a time reads.

    So the user's own function never runs twice at the same time, and remarks are gathered in order.
    Implements `DataSource`.
    """

    def __init__(self, source: DataSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self.description = source.description
        self.labelled = source.labelled
        self.class_names = source.class_names
        self.findings: list[Finding] = source.findings

    @property
    def fingerprint(self) -> str:
        with self._lock:
            return self._source.fingerprint

    def __len__(self) -> int:
        with self._lock:
            return len(self._source)

    def __iter__(self) -> Iterator[Sample]:
        with self._lock:
            samples = iter(self._source)
        while True:
            with self._lock:
                sample = next(samples, None)
            if sample is None:
                return
            yield sample
