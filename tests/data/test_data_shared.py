"""What several threads share: data that they walk, and outputs that they compare with."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from edgewise.data.function import FunctionSource
from edgewise.data.shared import SharedSource
from edgewise.data.source import InputSpec
from edgewise.targets.validation.baseline import OutputSpool

WALKERS, COUNT = 8, 200


class NotTwiceAtOnce:
    """The user's function, which breaks where two threads are in it."""

    def __init__(self) -> None:
        self._inside = threading.Lock()

    def __call__(self) -> Iterator[Any]:
        for index in range(COUNT):
            assert self._inside.acquire(blocking=False), "two threads are in it"
            array = np.full(3, index, np.float32)
            self._inside.release()
            yield {"x": array}, index


def test_each_thread_walks_all_and_one_reads_at_a_time() -> None:
    inputs = [InputSpec("x", (1, 3), np.dtype(np.float32))]
    source = FunctionSource(NotTwiceAtOnce(), inputs, description="mine")
    shared = SharedSource(source)
    assert (shared.description, shared.labelled) == ("mine", True)
    assert (len(shared), shared.fingerprint) == (COUNT, source.fingerprint)
    start = threading.Barrier(WALKERS)

    def walk(_: int) -> list[float]:
        start.wait(timeout=30)
        return [float(sample.feeds["x"][0, 0]) for sample in shared]

    with ThreadPoolExecutor(WALKERS) as pool:
        assert list(pool.map(walk, range(WALKERS))) == [[*map(float, range(COUNT))]] * WALKERS


class SlowFile:
    """A file with one position for all, whose readers are overtaken after they have sought."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def seek(self, position: int) -> None:
        self._file.seek(position)
        time.sleep(0.0005)

    def read(self, size: int) -> bytes:
        data: bytes = self._file.read(size)
        return data

    def close(self) -> None:
        self._file.close()


def test_outputs_on_disk_are_read_by_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = OutputSpool(in_memory_bytes=0)
    arrays = [np.full(16, index, np.float32) for index in range(20)]
    for array in arrays:
        spool.append({"y": array})
    monkeypatch.setattr(spool, "_file", SlowFile(spool._file))

    def read(_: int) -> bool:
        return all(np.array_equal(spool[i]["y"], array) for i, array in enumerate(arrays))

    with ThreadPoolExecutor(WALKERS) as pool:
        assert all(pool.map(read, range(WALKERS)))
    spool.close()
