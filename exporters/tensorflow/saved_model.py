"""SavedModel folders, of any version of TensorFlow and Keras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgewise.errors import ModelError
from edgewise.exporters.opened import OpenedModel, Runner, SourceOptions
from edgewise.exporters.tensorflow.functions import NEEDED_FOR, choose_signature, opened
from edgewise.exporters.tensorflow.libraries import import_tensorflow, silent
from edgewise.references import describe


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
            why=describe(error),
            remedy="Save it again; beside saved_model.pb it needs the folder variables.",
        ) from error
    concrete = choose_signature(loaded.signatures, options.signature, str(folder))
    result = opened("saved-model", concrete, options, str(folder))
    run = result.open_runner

    def open_runner() -> Runner:
        assert loaded  # the function knows its variables by weak references only
        return run()

    return replace(result, open_runner=open_runner)
