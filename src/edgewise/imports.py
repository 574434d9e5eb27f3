"""Libraries that others import only to see whether they are there.

coremltools looks for PyTorch, scikit-learn and more when it is imported: where they are installed
that takes seconds and hundreds of megabytes, for converters that Edgewise never calls. In a process
of its own Edgewise lets them seem absent for that moment. In somebody else's it does not: a script
may want to use those converters beside Edgewise.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

_own_process = False


def claim_process() -> None:
    """The process runs the `edgewise` command and nothing else.

    ONNX Runtime (from 1.29 on) then reports to nobody when it is imported, and writes nothing into
    the user's cache folder, unless the user's environment says that it may.
    """
    global _own_process
    _own_process = True
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@contextmanager
def unneeded(*packages: str) -> Iterator[None]:
    """In a process of Edgewise's own, those of the packages that are not imported yet are not
    found while the context is entered."""
    if not _own_process:
        yield
        return
    # a package without its submodules would be worse than one that is there, or is not
    absent = _Absent(frozenset(name for name in packages if name not in sys.modules))
    sys.meta_path.insert(0, absent)
    try:
        yield
    finally:
        sys.meta_path.remove(absent)


class _Absent:
    """A finder (see `sys.meta_path`) that ends the search for some packages."""

    def __init__(self, packages: frozenset[str]) -> None:
        self._packages = packages

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] in self._packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None
