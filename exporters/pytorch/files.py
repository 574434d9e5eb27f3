"""Files that PyTorch writes, told apart by what is in them: their suffixes say little.

1. A zip with `constants.pkl`: TorchScript.
2. A zip with `archive_format` or `models/`: a program of `torch.export`.
3. Anything else, a zip with `data.pkl` or an older pickle: a checkpoint, which is a model only
   where it holds a whole pickled module.
"""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

from edgewise.errors import UsageError
from edgewise.exporters.opened import OpenedModel, SourceOptions
from edgewise.exporters.pytorch.checkpoint import read_checkpoint, state_dict_in
from edgewise.exporters.pytorch.module import open_module
from edgewise.exporters.pytorch.program import open_program
from edgewise.exporters.pytorch.running import import_torch
from edgewise.exporters.pytorch.script import open_script

_SHOWN = 3


def open_file(path: Path, options: SourceOptions) -> OpenedModel:
    """Open a TorchScript file, an exported program, or a pickled module that is allowed to run.

    Raises:
        UsageError: torch is missing, or the file holds weights without the code of their module.
        ModelError: it cannot be read, holds code, or torch cannot export it.
    """
    members = _members(path)
    if "constants.pkl" in members:
        return open_script(path, options)
    if "archive_format" in members:
        return open_program(path, options)
    loaded = read_checkpoint(path, allow_code=options.allow_code)
    if isinstance(loaded, import_torch().nn.Module):
        return open_module(loaded, options, str(path))
    raise _weights_alone(path, loaded)


def _members(path: Path) -> set[str]:
    """Names of the files at the top of the archive, which has one folder."""
    if not zipfile.is_zipfile(path):
        return set()
    with zipfile.ZipFile(path) as archive:
        return {"/".join(PurePosixPath(name).parts[1:]) for name in archive.namelist()}


def _weights_alone(path: Path, loaded: object) -> UsageError:
    weights = state_dict_in(loaded)
    names = list(weights or {})
    held = (
        f"{len(names)} arrays ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
    )
    return UsageError(
        "a checkpoint is no model",
        where=str(path),
        why=f"it holds {held}, and not how they are computed with"
        if names
        else "it holds no model",
        remedy="Name the code that builds the module, and this file as its weights: "
        f"edgewise export nets.py:Net --weights {path.name}",
    )
