"""What torch would leave behind: a compiler's cache in the folder for temporary files.

`torch.export` asks the compiler for its cache, which makes the folder (by the user's name) and
remembers it in the environment of the process, though nothing is compiled.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_FOLDER = "TORCHINDUCTOR_CACHE_DIR"


@contextmanager
def private_cache() -> Iterator[None]:
    """A folder of its own for as long as the block takes, unless the user has chosen one."""
    if _FOLDER in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(
        prefix="edgewise-torch-", ignore_cleanup_errors=True
    ) as folder:
        os.environ[_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[_FOLDER]
