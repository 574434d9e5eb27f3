"""Finds out what a source is, and has it opened by whoever knows its kind.

1. An object in memory: by the library that its class comes from.
2. A file: by its suffix.
3. A folder: by a file in it.
4. `package.module:name` or `file.py:name`: the object of that name, or what it gives when called.
5. `org/name`, where there is no folder `org`: a model on the Hugging Face hub.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import cast

from edgewise.errors import ModelError, UsageError
from edgewise.exporters.float32 import in_float32
from edgewise.exporters.hub_name import is_hub_name
from edgewise.exporters.opened import OpenedModel, SourceOptions
from edgewise.exporters.quiet import quiet
from edgewise.exporters.taken_options import Taken, check_options
from edgewise.references import describe, is_reference, resolve

KINDS = (
    "a file (.onnx, .pt2, .pt, .keras, .h5, .tflite, .joblib), the folder of a SavedModel or of a "
    "Hugging Face model, or package.module:factory of a PyTorch, Keras, scikit-learn, JAX or ONNX "
    "model"
)
_PYTORCH = "edgewise.exporters.pytorch"
_TENSORFLOW = "edgewise.exporters.tensorflow"
_HUGGINGFACE = "edgewise.exporters.huggingface"
_SKLEARN = "edgewise.exporters.sklearn"
_JAX = "edgewise.exporters.jax"
#: suffix -> "module:function" that takes (path, options)
FILES: Mapping[str, str] = {
    ".h5": f"{_TENSORFLOW}:open_keras_file",
    ".hdf5": f"{_TENSORFLOW}:open_keras_file",
    ".keras": f"{_TENSORFLOW}:open_keras_file",
    ".onnx": "edgewise.exporters.onnx_files:open_onnx",
    ".pt2": f"{_PYTORCH}:open_program",
    ".tflite": "edgewise.exporters.tflite:open_tflite",
    **dict.fromkeys((".joblib", ".pickle", ".pkl"), f"{_SKLEARN}:open_pickle"),
    **dict.fromkeys(
        (".bin", ".ckpt", ".pt", ".pth", ".safetensors", ".th"), f"{_PYTORCH}:open_file"
    ),
}
#: file in a folder -> "module:function" that takes (folder, options)
FOLDERS: Mapping[str, str] = {
    "saved_model.pb": f"{_TENSORFLOW}:open_saved_model",
    "config.json": f"{_HUGGINGFACE}:open_folder",
}
#: library of a class or of a base class -> "module:function" that takes (object, options, where)
OBJECTS: Mapping[str, str] = {
    "onnx": "edgewise.exporters.onnx_files:open_model",
    "onnx_ir": "edgewise.exporters.onnx_files:open_model",
    "tf_keras": f"{_TENSORFLOW}:open_keras_model",
    "keras": f"{_TENSORFLOW}:open_keras_model",  # before its backends
    "tensorflow": f"{_TENSORFLOW}:open_function",
    "transformers": f"{_HUGGINGFACE}:open_object",  # before torch, which its models derive from
    "torch": f"{_PYTORCH}:open_module",
    "sklearn": f"{_SKLEARN}:open_estimator",
    **dict.fromkeys(("equinox", "flax", "jaxlib"), f"{_JAX}:open_function"),
}
#: takes (name, options) where a text is neither path nor reference, but could be a hub's
_HUB = f"{_HUGGINGFACE}:open_hub"
#: what each of these openers takes beside shapes
TAKEN: Mapping[str, Taken] = {
    "edgewise.exporters.onnx_files:open_onnx": Taken("ONNX models"),
    "edgewise.exporters.onnx_files:open_model": Taken("ONNX models"),
    "edgewise.exporters.tflite:open_tflite": Taken("TFLite models", ("signature",)),
    f"{_TENSORFLOW}:open_keras_file": Taken("Keras models", ("allow_code",)),
    f"{_TENSORFLOW}:open_keras_model": Taken("Keras models"),
    f"{_TENSORFLOW}:open_saved_model": Taken("SavedModels", ("signature",)),
    f"{_TENSORFLOW}:open_function": Taken("TensorFlow functions", ("signature",)),
    **dict.fromkeys(
        (f"{_HUGGINGFACE}:{opener}" for opener in ("open_folder", "open_hub", "open_object")),
        Taken("Hugging Face models", ("task", "exporter", "allow_code")),
    ),
    f"{_SKLEARN}:open_estimator": Taken("scikit-learn models"),
    f"{_SKLEARN}:open_pickle": Taken("pickles", ("allow_code",)),
    f"{_JAX}:open_function": Taken("JAX models"),
    f"{_PYTORCH}:open_program": Taken("exported programs"),
    f"{_PYTORCH}:open_file": Taken("files of PyTorch", ("exporter", "allow_code")),
    f"{_PYTORCH}:open_module": Taken("PyTorch modules", ("weights", "exporter", "allow_code")),
}


def open_source_model(source: object, options: SourceOptions) -> OpenedModel:
    """Find out what `source` is and read it, in float32; see `edgewise.exporters.export`."""
    return in_float32(_found(source, options))


def _found(source: object, options: SourceOptions) -> OpenedModel:
    if not isinstance(source, str | Path):
        return _object(source, options, type(source).__name__)
    text = str(source)
    path = (Path.cwd() if options.base is None else options.base) / text
    if path.is_dir():
        return _folder(path, options)
    if path.exists():
        return _file(path, options)
    if is_reference(text):
        return _referenced(text, options)
    if is_hub_name(text):
        check_options(options, TAKEN[_HUB], text)
        return cast(OpenedModel, _function(_HUB)(text, options))
    raise UsageError("no such file", where=text, remedy=f"A model is {KINDS}.")


def _file(path: Path, options: SourceOptions) -> OpenedModel:
    suffix = path.suffix.lower()
    if suffix in FILES:
        return _opened(FILES[suffix], path, options)
    raise _unknown(path, f"files of type '{suffix}'" if suffix else "files without a suffix")


def _folder(path: Path, options: SourceOptions) -> OpenedModel:
    for marker, opener in FOLDERS.items():
        if (path / marker).is_file():
            return _opened(opener, path, options)
    raise _unknown(path, "this folder")


def _referenced(text: str, options: SourceOptions) -> OpenedModel:
    found = resolve(text, base=options.base, error=ModelError)
    # a class is a factory too, and so is a function that is no model itself
    made = _call(found, text) if callable(found) and _opener(found) is None else found
    shapes = options.input_shapes or getattr(found, "input_shapes", {})
    return _object(made, replace(options, input_shapes=shapes), text)


def _object(made: object, options: SourceOptions, where: str) -> OpenedModel:
    opener = _opener(made)
    if opener is None and isinstance(made, FunctionType) and "jax" in sys.modules:
        opener = f"{_JAX}:open_function"  # a function of its module's own, not jitted
    if opener is None:
        raise ModelError(
            "is no model that can be exported",
            where=where,
            why=f"found {type(made).__name__}",
            remedy=f"A model is {KINDS}.",
        )
    check_options(options, TAKEN[opener], where)
    return cast(OpenedModel, _function(opener)(made, options, where))


def _opened(opener: str, path: Path, options: SourceOptions) -> OpenedModel:
    check_options(options, TAKEN[opener], str(path))
    return cast(OpenedModel, _function(opener)(path, options))


def _opener(made: object) -> str | None:
    """Who opens the object: of several libraries that it derives from, the first of the table."""
    if isinstance(made, type):
        return None
    roots = {base.__module__.partition(".")[0] for base in type(made).__mro__}
    return next((opener for root, opener in OBJECTS.items() if root in roots), None)


def _function(text: str) -> Callable[..., object]:
    module, _, name = text.partition(":")
    return cast(Callable[..., object], getattr(import_module(module), name))


def _call(factory: Callable[..., object], text: str) -> object:
    if needed := _required(factory):
        raise UsageError(
            "the factory takes arguments",
            where=text,
            why=f"it needs {', '.join(needed)}, and is called with none",
            remedy="Name a function that calls it with them: def model(): return "
            f"{getattr(factory, '__name__', 'Net')}(...)",
        )
    try:
        with quiet():
            return factory()
    except ModelError:
        raise
    except (Exception, SystemExit) as error:  # user code may raise anything, and may be a script
        raise ModelError("the factory failed", where=text, why=describe(error)) from error


def _required(factory: Callable[..., object]) -> list[str]:
    """Names of the arguments that have no default."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # of callables in C, nothing is known
        return []
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in variable]


def _unknown(path: Path, what: str) -> ModelError:
    return ModelError(
        f"cannot read {what} as a model", where=str(path), remedy=f"A model is {KINDS}."
    )
