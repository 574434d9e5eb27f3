"""Processes that one thread waits for and another may end.

An interrupt reaches the main thread alone, while others bring a bundle to a slow board or wait for
a phone that hangs.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_waited: dict[subprocess.Popen[bytes], Callable[[], None]] = {}


@contextmanager
def waited(process: subprocess.Popen[bytes], end: Callable[[], None]) -> Iterator[None]:
    """For the time of the block, `end_waited` of another thread calls `end`."""
    with _lock:
        _waited[process] = end
    try:
        yield
    finally:
        with _lock:
            del _waited[process]


def end_waited() -> None:
    """End all of them: who waits is told as of any process that ended."""
    with _lock:
        for end in _waited.values():
            end()
