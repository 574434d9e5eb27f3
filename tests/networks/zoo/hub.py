"""The networks as hub models, exported once for all tests of a process."""

from __future__ import annotations

import tempfile
import warnings
from functools import cache
from pathlib import Path

import onnx_ir as ir

from edgewise.exporters import export
from edgewise.graph import load, save
from zoo.settle import settled
from zoo.source import Samples
from zoo.table import NETWORKS


def hub_model(name: str, *, shift: float = 0.0) -> ir.Model:
    """A model of the caller's own. It lies on disk in between: together they would fill memory.

    `shift` is explained in `settle`.
    """
    path = _folder() / f"{name}-{shift:g}.onnx"
    if not path.exists():
        network = NETWORKS[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the libraries that define and trace the networks
            module = settled(network, shift=shift)
            exported = export(module, example=Samples(network, 2, seed=1))
        save(exported.model, path)
    return load(path)


@cache
def _folder() -> Path:
    _folders.append(tempfile.TemporaryDirectory(prefix="edgewise-zoo-"))
    return Path(_folders[-1].name)


#: deleted when the process ends
_folders: list[tempfile.TemporaryDirectory[str]] = []
