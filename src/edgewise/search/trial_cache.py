"""What trials found, kept on disk: a search that was interrupted goes on where it stopped.

One small JSON file for each figure, in `<cache>/search`, under a name that is a hash of all that
the figure depends on: model, data, scheme, recipe, and versions of what computed it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewise.files import staged
from edgewise.targets.manifest import tool_versions
from edgewise.targets.validation.devices.bundle.installation import cache_folder

_FORMAT = "edgewise-trial-1"
#: packages whose release may change a figure
_PACKAGES = ("edgewise", "numpy", "onnx", "onnxruntime", "coremltools", "ai-edge-litert")


def trials_folder() -> Path:
    """Where trials of all projects are kept."""
    return cache_folder() / "search"


@dataclass(frozen=True, slots=True)
class TrialCache:
    """Figures by key; `folder` None keeps nothing."""

    folder: Path | None
    #: what all figures of the search depend on
    subject: str = ""

    def read(self, *parts: str) -> dict[str, Any] | None:
        """What was kept for these parts; None where there is nothing that can be read."""
        path = self._path(parts)
        if path is None:
            return None
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        fits = isinstance(kept, dict) and kept.get("format") == _FORMAT
        return dict(kept["values"]) if fits else None

    def write(self, values: Mapping[str, Any], *parts: str) -> None:
        """Keep JSON values; a cache that cannot be written is none."""
        path = self._path(parts)
        if path is None:
            return
        text = json.dumps({"format": _FORMAT, "values": dict(values)})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with staged(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError:
            return

    def _path(self, parts: tuple[str, ...]) -> Path | None:
        if self.folder is None:
            return None
        versions = json.dumps(tool_versions(*_PACKAGES), sort_keys=True)
        key = hashlib.sha256("\0".join((self.subject, versions, *parts)).encode()).hexdigest()
        return self.folder / key[:2] / f"{key}.json"
