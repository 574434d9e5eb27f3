"""SavedModel folders, of any version of TensorFlow and Keras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgewise.errors import ModelError
from edgewise.exporters.opened import OpenedModel, Runner, SourceOptions
from edgewise.exporters.tensorflow.functions import NEEDED_FOR, choose_signature, opened
from edgewise.exporters.tensorflow.libraries import import_tensorflow, silent

_PROGRAM = "saved_model.pb"
#: what TensorFlow says of a program, and of weights, that it cannot read
_NO_PROGRAM = ("Cannot parse file", "there are 0 MetaGraphs")
_DAMAGED = ("TensorSliceReader", "sstable", "Read less bytes", "out of range")
_LONGEST = 200


def open_saved_model(folder: Path, options: SourceOptions) -> OpenedModel:
    """Export one signature of a SavedModel. What it needs is in it: Keras is not.

    Raises:
        UsageError: TensorFlow or tf2onnx is missing, or the signature asked for is.
        ModelError: the folder cannot be read, or the signature takes text or cannot be written.
    """
    tf = import_tensorflow(NEEDED_FOR)
    try:
        with silent():
            loaded = tf.saved_model.load(str(folder))
    except Exception as error:  # TensorFlow raises many types on broken folders
        raise ModelError(
            "cannot read the SavedModel",
            where=str(folder),
            why=_why(error, folder),
            remedy="Save it again, or copy the whole folder.",
        ) from error
    concrete = choose_signature(loaded.signatures, options.signature, str(folder))
    result = opened("saved-model", concrete, options, str(folder))
    run = result.open_runner

    def open_runner() -> Runner:
        assert loaded  # the function knows its variables by weak references only
        return run()

    return replace(result, open_runner=open_runner)


def _why(error: Exception, folder: Path) -> str:
    """What TensorFlow means, which tells of its readers in place of the files."""
    text = " ".join(str(error).split())
    if any(sign in text for sign in _NO_PROGRAM):
        return f"{_PROGRAM} is truncated, or no SavedModel"
    weights = folder / "variables"
    if not any(weights.glob("variables.data-*")) or not (weights / "variables.index").is_file():
        return "its weights are missing: the folder variables, with variables.index and its data"
    if any(sign in text for sign in _DAMAGED):
        return "its weights, in the folder variables, are truncated or damaged"
    return text[:_LONGEST] or type(error).__name__
