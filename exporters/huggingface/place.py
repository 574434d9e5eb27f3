"""Where the files of a model are: a folder, or a name on the hub."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewise.errors import ModelError
from edgewise.exporters.extras import import_extra
from edgewise.exporters.huggingface.tasks import NEEDED_FOR
from edgewise.exporters.quiet import quiet

MODULES = "modules.json"
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


@dataclass(frozen=True, slots=True)
class Place:
    """What `from_pretrained` is given, and whether that is a folder here."""

    name: str
    is_folder: bool

    @property
    def arguments(self) -> dict[str, Any]:
        """Of every `from_pretrained`: a folder is never looked up elsewhere."""
        return {"local_files_only": True} if self.is_folder else {}

    def file(self, name: str) -> Path | None:
        """One file of the model, downloaded where it has to be; None where there is none."""
        if self.is_folder:
            path = Path(self.name) / name
            return path if path.is_file() else None
        utils = import_extra("transformers.utils", needed_for=NEEDED_FOR)
        with quiet():
            found = utils.cached_file(
                self.name,
                name,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
            )
        return None if found is None else Path(found)

    def require_weights(self) -> None:
        """Raises ModelError for a folder that holds none."""
        if self.is_folder and not any((Path(self.name) / name).is_file() for name in _WEIGHTS):
            raise ModelError(
                "there are no weights in this folder",
                where=self.name,
                why="none of " + ", ".join(_WEIGHTS),
                remedy="Save the model with save_pretrained, or download the whole folder.",
            )


def read_json(path: Path) -> Any:
    """Raises ModelError for a file that is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            "cannot read this file of the model",
            where=str(path),
            why=getattr(error, "strerror", None) or str(error),
            remedy="Save or download the folder again.",
        ) from error
