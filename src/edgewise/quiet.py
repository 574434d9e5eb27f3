"""The console belongs to Edgewise: what libraries print, in Python or in C++, goes elsewhere."""

from __future__ import annotations

import faulthandler
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True, slots=True)
class Streams:
    """The user's own stdout and stderr, whatever happens to the process's."""

    out: TextIO
    err: TextIO


@contextmanager
def own_streams(*, show_chatter: bool = False) -> Iterator[Streams]:
    """The user's streams, while everything else that is printed is swallowed.

    Redirects file descriptors 1 and 2, so that native code is silenced as well. With
    `show_chatter`, what others print reaches the user's stderr; stdout is never shared.
    """
    out, err = _duplicate(sys.stdout, 1), _duplicate(sys.stderr, 2)
    streams = Streams(out, err)
    if out is sys.stdout or err is sys.stderr:  # replaced by a test or a notebook: nothing to move
        yield streams
        return
    import tempfile

    with tempfile.TemporaryFile() as sink:
        saved = os.dup(1), os.dup(2)
        crash_reports = faulthandler.is_enabled()
        faulthandler.enable(err)  # a native crash must not be swallowed too
        try:
            os.dup2(saved[1] if show_chatter else sink.fileno(), 1)
            os.dup2(saved[1] if show_chatter else sink.fileno(), 2)
            yield streams
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in zip((1, 2), saved, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)
            faulthandler.disable()
            if crash_reports:
                faulthandler.enable()
            _close(out)
            _close(err)


def _duplicate(stream: TextIO, descriptor: int) -> TextIO:
    try:
        if stream.fileno() != descriptor:
            return stream
    except (AttributeError, ValueError, io.UnsupportedOperation):
        return stream
    stream.flush()
    copy = os.dup(descriptor)
    return os.fdopen(copy, "w", encoding=stream.encoding, errors="replace", buffering=1)


def _close(stream: TextIO) -> None:
    with suppress(BrokenPipeError):  # nobody reads any more
        stream.close()
