"""coremltools without its chatter: the one place that imports it.

At import coremltools warns about every library it has not been tested with and about each native
part that exists on Apple's systems only; while it converts it draws progress bars. None of it is
for the users of Edgewise, so the `coremltools` logger and Python's warnings are held back while
it works, and its progress bar is replaced by plain iteration.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from edgewise.imports import unneeded

T = TypeVar("T")

__all__ = [
    "Builder",
    "Function",
    "Program",
    "ScopeInfo",
    "ScopeSource",
    "Var",
    "ct",
    "new_symbol",
    "pass_pipeline",
    "quiet",
    "types",
]


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what coremltools logs below ERROR and every Python warning."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


#: the frameworks that coremltools converts from, which Edgewise does not need it for
_FRAMEWORKS = ("executorch", "libsvm", "sklearn", "tensorflow", "torch", "torchao", "xgboost")

with quiet(), unneeded(*_FRAMEWORKS):
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder, Function, Program, Var, types
    from coremltools.converters.mil.mil import get_new_symbol as new_symbol
    from coremltools.converters.mil.mil.passes import pass_pipeline
    from coremltools.converters.mil.mil.scope import ScopeInfo, ScopeSource


def _plain(items: Iterable[T], *, desc: str = "", unit: str = "") -> Iterable[T]:
    return items


pass_pipeline.tqdm = _plain
