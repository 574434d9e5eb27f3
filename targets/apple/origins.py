"""Which node of the user's model an operation of the program was written for.

coremltools hands the scope of an operation on when a pass replaces it, so that the finished program
still tells. Scopes are not written to the package.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import ScopeInfo, ScopeSource

#: of the kinds of scope that coremltools has, the one for names of a model's parts
_SOURCE = ScopeSource.TORCHSCRIPT_MODULE_NAME


def origin(node: str) -> AbstractContextManager[Any]:
    """While it is entered, new operations belong to that node."""
    scope: AbstractContextManager[Any] = mb.scope(ScopeInfo(source=_SOURCE, data=[node]))
    return scope


def origin_of(operation: Any) -> str:
    """The node that a MIL operation was written for; empty for what belongs to none."""
    return ", ".join(operation.scopes.get(_SOURCE, ()))
