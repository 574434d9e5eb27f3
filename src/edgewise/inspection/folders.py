"""Folders that hold models and are none: what `edgewise build` writes, and its `stages`."""

from __future__ import annotations

from pathlib import Path

from edgewise.errors import UsageError
from edgewise.exporters.source import FOLDERS
from edgewise.targets.manifest import MANIFEST_NAME

_MOST = 8


def refuse_folder_of_models(path: Path, suffixes: tuple[str, ...]) -> None:
    """Raises UsageError that names the models inside.

    Args:
        path: whatever is to be inspected; files and folders of models are let pass.
        suffixes: of what can be inspected.
    """
    if not path.is_dir() or any((path / marker).is_file() for marker in FOLDERS):
        return
    inside = sorted(
        str(child)
        for child in path.iterdir()
        if (child / MANIFEST_NAME).is_file() or child.suffix.lower() in suffixes
    )
    if inside:
        more = f" and {len(inside) - _MOST} more" if len(inside) > _MOST else ""
        raise UsageError(
            "is a folder of models",
            where=str(path),
            why=f"it holds {len(inside)}" if len(inside) > 1 else "it is none itself",
            remedy=f"Inspect one of them: {', '.join(inside[:_MOST])}{more}.",
        )
