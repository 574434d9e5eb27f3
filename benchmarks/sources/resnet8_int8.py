"""The examples of `resnet8`, under the name that the published int8 file gives its input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import resnet8

INPUT = "input_1_int8"


def calibration() -> Iterator[resnet8.Example]:
    return _renamed(resnet8.calibration())


def evaluation() -> Iterator[resnet8.Example]:
    return _renamed(resnet8.evaluation())


def _renamed(examples: Iterable[resnet8.Example]) -> Iterator[resnet8.Example]:
    for feeds, label in examples:
        yield {INPUT: next(iter(feeds.values()))}, label
