"""How long steps tell how far they are, without knowing who listens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """A listener: the command line draws bars, a library caller hears nothing."""

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Yield the items, advancing one step for each; `total` is None when unknown."""

    def step(self, label: str) -> None:
        """A step without a count began."""


class Silent:
    """The listener that does nothing."""

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        return iter(items)

    def step(self, label: str) -> None:
        return None


SILENT: Progress = Silent()
