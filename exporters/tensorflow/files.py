"""Keras files: `.keras`, and `.h5` (`.hdf5`), which Keras 2 wrote.

1. Both hold the configuration of all layers as JSON, and the weights.
2. A Lambda layer's configuration is Python bytecode. Keras refuses to load it from `.keras` without
   being told; from `.h5`, Keras 2 does not ask. So the configuration is looked through here.
3. A file of Keras 2 that Keras 3 refuses, such as one whose DepthwiseConv2D has `groups`, is loaded
   by `tf_keras`, which is Keras 2 for today's TensorFlow. A finding says so.
4. Layers of the user's own are known by name only. They must be registered before the file is read,
   which a function of the user's can do.
5. `.weights.h5` (and `.h5` without a configuration) hold no model.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from edgewise.errors import ModelError
from edgewise.exporters.opened import OpenedModel, SourceOptions
from edgewise.exporters.tensorflow.libraries import import_keras, import_tf_keras, silent
from edgewise.exporters.tensorflow.models import open_keras_model
from edgewise.findings import Finding

_UNKNOWN = re.compile(r"(?:Could not locate (?:class|function)|Unknown \w+:?) '?([\w>.]+)")


@dataclass(frozen=True, slots=True)
class _Contents:
    """What a file says of itself."""

    config: Any
    keras_version: str


def open_keras_file(path: Path, options: SourceOptions) -> OpenedModel:
    """Load a model file, without its optimizer and losses, and export it.

    Raises:
        UsageError: TensorFlow, tf2onnx, or tf_keras for a file that needs it, is missing.
        ModelError: the file is damaged, holds weights only, code (without `allow_code`) or layers
            that nobody has registered; or the model cannot be exported.
    """
    if path.name.lower().endswith(".weights.h5"):
        raise _weights_only(path)
    keras = import_keras()
    contents = _archive(path) if path.suffix.lower() == ".keras" else _hdf5(path)
    if not options.allow_code:
        _refuse_code(path, contents.config)
    model, findings = _load(path, keras, contents, options)
    opened = open_keras_model(model, options, str(path))
    return replace(opened, findings=(*findings, *opened.findings))


def _archive(path: Path) -> _Contents:
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
            metadata = json.loads(archive.read("metadata.json"))
            broken = archive.testzip()
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise _damaged(path, "it is truncated, or not a Keras file") from error
    if broken:
        raise _damaged(path, f"its part {broken} is damaged")
    return _Contents(config, str(metadata.get("keras_version", "")))


def _hdf5(path: Path) -> _Contents:
    h5py: Any = import_module("h5py")  # Keras has imported it
    try:
        with h5py.File(path, "r") as file:
            text, version = file.attrs.get("model_config"), file.attrs.get("keras_version", "")
    except (OSError, RuntimeError, KeyError) as error:
        raise _damaged(path, "it is truncated, or not an HDF5 file") from error
    if text is None:
        raise _weights_only(path)
    try:
        return _Contents(json.loads(text), str(version))
    except ValueError as error:
        raise _damaged(path, "its configuration is not JSON") from error


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(
        "cannot read the model", where=str(path), why=why, remedy="Save it again in Keras."
    )


def _weights_only(path: Path) -> ModelError:
    return ModelError(
        "holds weights without a model",
        where=str(path),
        remedy="Name a function that builds the model and loads them (package.module:factory), or "
        "save the whole model as .keras.",
    )


def _refuse_code(path: Path, config: Any) -> None:
    layer = next(_layers_with_code(config, ""), None)
    if layer is not None:
        raise _holds_code(path, f"layer '{layer}' is Python bytecode")


def _holds_code(path: Path, why: str) -> ModelError:
    return ModelError(
        "the file holds code",
        where=str(path),
        why=why,
        remedy="If you trust whoever made it, pass --allow-code: it can run anything on this "
        "machine. Better, replace Lambda layers by registered ones.",
    )


def _layers_with_code(config: Any, layer: str) -> Iterator[str]:
    """Names of the layers whose configuration holds a lambda, in the form of Keras 3 or 2."""
    if isinstance(config, dict):
        inner = config.get("config")
        layer = str(inner.get("name", layer)) if isinstance(inner, dict) else layer
        if config.get("class_name") == "__lambda__" or "lambda" in (
            config.get("function_type"),
            config.get("output_shape_type"),
            config.get("mask_type"),
        ):
            yield layer
        for value in config.values():
            yield from _layers_with_code(value, layer)
    elif isinstance(config, list):
        for value in config:
            yield from _layers_with_code(value, layer)


def _load(
    path: Path, keras: Any, contents: _Contents, options: SourceOptions
) -> tuple[Any, tuple[Finding, ...]]:
    try:
        with silent():
            return (
                keras.models.load_model(path, compile=False, safe_mode=not options.allow_code),
                (),
            )
    except Exception as error:  # Keras raises many types
        refusal = error
    if unknown := _unknown_class(refusal):
        raise _not_registered(path, unknown) from refusal
    if "safe_mode" in str(refusal):
        raise _holds_code(path, "Keras refuses to load it safely") from refusal
    if not contents.keras_version.startswith("2"):
        raise _refused(path, f"Keras {keras.__version__}", refusal) from refusal
    return _load_old(path, keras, contents, refusal)


def _load_old(
    path: Path, keras: Any, contents: _Contents, refusal: Exception
) -> tuple[Any, tuple[Finding, ...]]:
    """Case 3."""
    kind = f"Keras {contents.keras_version}"
    old = import_tf_keras(f"models of {kind} that Keras {keras.__version__} refuses")
    try:
        with silent():
            model = old.models.load_model(path, compile=False)
    except Exception as error:
        if unknown := _unknown_class(error):
            raise _not_registered(path, unknown) from error
        raise _refused(path, f"tf_keras {old.__version__}", error) from error
    message = (
        f"{path.name} was read by tf_keras {old.__version__}: it is a model of {kind}, which "
        f"Keras {keras.__version__} refuses ({_short(refusal)})"
    )
    remedy = "Save it again with a newer Keras."
    return model, (Finding("export/legacy-keras", "info", message, remedy=remedy),)


def _unknown_class(error: Exception) -> str | None:
    """The class or function that is not registered, out of what Keras says."""
    found = _UNKNOWN.search(str(error))
    return found.group(1).rpartition(">")[2] if found else None


def _not_registered(path: Path, name: str) -> ModelError:
    return ModelError(
        f"the class '{name}' is not known",
        where=str(path),
        why="the file has only its name",
        remedy="Decorate it with @keras.saving.register_keras_serializable() and name a function, "
        "beside it, that loads the file (package.module:factory).",
    )


def _refused(path: Path, who: str, error: Exception) -> ModelError:
    return ModelError(
        f"{who} cannot load the model",
        where=str(path),
        why=_short(error),
        remedy="Save it again with the installed Keras.",
    )


def _short(error: Exception) -> str:
    """Of Keras' message, which tells a whole configuration first, what happened."""
    text = str(error).rpartition("Exception encountered:")[2]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
