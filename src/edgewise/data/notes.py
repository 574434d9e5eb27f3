"""What a hub model says about its own inputs and outputs, in the metadata of the ONNX file.

`edgewise.preprocessing` is JSON as in `manifest.json`, `edgewise.file.<name>` the text of a file
that it needs (`tokenizer.json`), `edgewise.labels` a JSON list of class names. So a hub model that
is calibrated, quantized and emitted by hand ends as the same artifact as that of a build.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgewise.data.preprocessing import Preprocessing, as_dict, companions, from_dict
from edgewise.errors import ModelError

PREFIX = "edgewise."
_PREPROCESSING, _LABELS, _FILE = f"{PREFIX}preprocessing", f"{PREFIX}labels", f"{PREFIX}file."


@dataclass(frozen=True, slots=True)
class Notes:
    """What the source of a model told; empty where it told nothing."""

    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] = ()


def attach(model: ir.Model, preprocessing: Preprocessing | None, labels: Sequence[str]) -> None:
    """Write the notes into the metadata of the model, in place of what stands there."""
    drop(model)
    if preprocessing is not None:
        model.metadata_props[_PREPROCESSING] = json.dumps(as_dict(preprocessing), sort_keys=True)
        for name, content in companions(preprocessing).items():
            model.metadata_props[_FILE + name] = content.decode()
    if labels:
        model.metadata_props[_LABELS] = json.dumps(list(labels), ensure_ascii=False)


def notes_of(model: ir.Model) -> Notes:
    """What `attach` wrote. Raises ModelError where it was changed by hand and cannot be read."""
    stored, labels = (model.metadata_props.get(key) for key in (_PREPROCESSING, _LABELS))
    try:
        preprocessing = None
        if stored is not None:
            files = {
                key.removeprefix(_FILE): text.encode()
                for key, text in model.metadata_props.items()
                if key.startswith(_FILE)
            }
            preprocessing = from_dict(json.loads(stored), files)
        return Notes(preprocessing, tuple(map(str, json.loads(labels))) if labels else ())
    except (ValueError, AttributeError, TypeError) as error:
        raise ModelError(
            "cannot read what the model says of its preprocessing",
            where=_PREPROCESSING,
            why=str(error),
            remedy="Export the model again.",
        ) from error


def drop(model: ir.Model) -> None:
    """Remove the notes: an artifact has them in its manifest, and its files beside it."""
    for key in [key for key in model.metadata_props if key.startswith(PREFIX)]:
        del model.metadata_props[key]
