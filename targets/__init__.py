"""QDQ model in, file for a device out, and the proof that it is right and fast.

`get` gives a target by name; the table below is the only place that lists them.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from edgewise.errors import UsageError
from edgewise.targets.base import (
    About,
    Artifact,
    EmitOptions,
    Manifest,
    Session,
    Target,
    TensorSignature,
)

__all__ = [
    "TARGETS",
    "About",
    "Artifact",
    "EmitOptions",
    "Manifest",
    "Session",
    "Target",
    "TensorSignature",
    "get",
]

#: name -> "module:object"; modules are imported when asked for, since runtimes are heavy
TARGETS = {
    "android": "edgewise.targets.android:TARGET",
    "apple": "edgewise.targets.apple:TARGET",
    "arm": "edgewise.targets.arm:TARGET",
}


def get(name: str) -> Target:
    """The target of that name. Raises UsageError for an unknown one."""
    if name not in TARGETS:
        raise UsageError(f"unknown target '{name}'", remedy=f"Known targets: {', '.join(TARGETS)}.")
    module, _, attribute = TARGETS[name].partition(":")
    return cast(Target, getattr(import_module(module), attribute))
