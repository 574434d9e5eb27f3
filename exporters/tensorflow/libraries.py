"""Imports of TensorFlow and its companions, without what they print.

TensorFlow's C++ side writes to file descriptor 2, which no redirection in Python catches.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgewise.exporters.extras import import_extra
from edgewise.exporters.quiet import quiet


@contextmanager
def silent() -> Iterator[None]:
    """Drop what Python and native code print in the block; exceptions pass."""
    with suppress(AttributeError, OSError, ValueError):  # a console that is closed
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is no console
        with quiet():
            yield
        return
    try:
        with Path(os.devnull).open("wb") as sink:
            os.dup2(sink.fileno(), 2)
        with quiet():
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def import_tensorflow(needed_for: str) -> Any:
    """Raises UsageError: it is not installed."""
    with silent():
        return import_extra("tensorflow", needed_for=needed_for)


def import_tf2onnx(needed_for: str) -> Any:
    """With its submodules `tf_loader` and `tfonnx`. Raises UsageError: it is not installed."""
    with silent():
        import_extra("tensorflow", needed_for=needed_for)
        for part in ("tf_loader", "tfonnx"):
            import_extra(f"tf2onnx.{part}", needed_for=needed_for)
        return import_extra("tf2onnx", needed_for=needed_for)


def import_keras() -> Any:
    """Keras 3, on the backend that the process or the user has chosen, TensorFlow without.

    Raises UsageError: it is not installed, or its backend is not.
    """
    if "keras" not in sys.modules and not _configured():
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with silent():
        keras = import_extra("keras", needed_for="Keras models")
        return import_extra(keras.backend.backend(), needed_for="Keras models") and keras


def import_tf_keras(needed_for: str) -> Any:
    """Keras 2. Raises UsageError: it is not installed."""
    with silent():
        import_extra("tensorflow", needed_for=needed_for)
        return import_extra("tf_keras", needed_for=needed_for)


def _configured() -> bool:
    """Whether the user's own configuration file names a backend; Keras reads it."""
    home = Path(os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser())
    return (home / "keras.json").is_file()
