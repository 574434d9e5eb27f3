"""`tf.Module` and `tf.function` objects, and the signatures of SavedModels.

1. A concrete function: as it is.
2. A `tf.function` with an input signature, or one that was traced for a single signature.
3. A `tf.Module` (or what `tf.saved_model.load` gave): its one signature, else its `__call__`, which
   is of kind 1 or 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from edgewise.errors import ModelError, UsageError
from edgewise.exporters.opened import Array, OpenedModel, Runner, SourceKind, SourceOptions
from edgewise.exporters.tensorflow.libraries import import_tensorflow, silent
from edgewise.exporters.tensorflow.traceable import Port, Traceable, fixed_ports, leaf_names
from edgewise.exporters.tensorflow.writer import exporter_text, input_tensors, write_onnx

NEEDED_FOR = "TensorFlow models"
DEFAULT_SIGNATURE = "serving_default"


def open_function(source: object, options: SourceOptions, where: str) -> OpenedModel:
    """Export a module or a function of TensorFlow.

    Raises:
        UsageError: TensorFlow or tf2onnx is missing, or the signature asked for is.
        ModelError: it has no signature, takes text, or cannot be written as ONNX.
    """
    import_tensorflow(NEEDED_FOR)
    concrete = _concrete(source, options, where)
    return opened("saved-model", concrete, options, where)


def opened(kind: SourceKind, concrete: Any, options: SourceOptions, where: str) -> OpenedModel:
    """A concrete function as a model; its inputs are called as in its signature."""
    source = _traceable(concrete, options, where)
    return OpenedModel(
        kind,
        write_onnx(source, where, NEEDED_FOR),
        partial(_open_runner, source),
        exporter=exporter_text(),
    )


def choose_signature(signatures: Mapping[str, Any], wanted: str | None, where: str) -> Any:
    """The wanted signature, else `serving_default`, else the only one.

    Raises:
        UsageError: there is no such signature, or several and none was chosen.
        ModelError: there is none at all.
    """
    known = [name for name in signatures if not name.startswith("__")]
    if not known:
        raise ModelError(
            "has no signature",
            where=where,
            why="without one nothing says what it takes",
            remedy="Save it again with tf.saved_model.save(..., signatures=...).",
        )
    if wanted is None and DEFAULT_SIGNATURE not in known and len(known) > 1:
        raise UsageError(
            "has several signatures",
            where=where,
            why=f"they are {', '.join(known)}",
            remedy="Choose one with --signature.",
        )
    name = wanted or (DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in known else known[0])
    if name not in known:
        raise UsageError(
            f"has no signature '{name}'",
            where=where,
            why=f"its signatures are {', '.join(known)}",
            remedy="Choose one with --signature.",
        )
    return signatures[name]


def _concrete(source: Any, options: SourceOptions, where: str) -> Any:
    if hasattr(source, "structured_input_signature"):
        return source
    if getattr(source, "signatures", None):
        return choose_signature(source.signatures, options.signature, where)
    if not hasattr(source, "get_concrete_function"):
        if not hasattr(getattr(source, "__call__", None), "get_concrete_function"):  # noqa: B004
            raise ModelError(
                "has nothing that can be exported",
                where=where,
                why=f"{type(source).__name__} has neither signatures nor a __call__ that is a "
                "tf.function",
                remedy="Decorate its __call__ with @tf.function(input_signature=[...]).",
            )
        source = source.__call__
    try:
        with silent():
            return source.get_concrete_function()
    except (TypeError, ValueError) as error:
        raise ModelError(
            "the function has no single signature",
            where=where,
            why="nothing says the shapes and types of its inputs",
            remedy="Decorate it with @tf.function(input_signature=[...]), or return "
            "function.get_concrete_function(...).",
        ) from error


def _traceable(concrete: Any, options: SourceOptions, where: str) -> Traceable:
    tf = import_tensorflow(NEEDED_FOR)
    arguments, keywords = concrete.structured_input_signature
    specs = [spec for spec in tf.nest.flatten((arguments, keywords)) if hasattr(spec, "dtype")]
    ports = tuple(
        Port(
            spec.name or f"input_{index}",
            _dims(spec, where),
            "string" if spec.dtype == tf.string else spec.dtype.name,
        )
        for index, spec in enumerate(specs)
    )
    ports = fixed_ports(ports, options.input_shapes, where)

    def call(tensors: Sequence[Any]) -> Any:
        given = iter(tensors)
        filled = tf.nest.map_structure(
            lambda spec: next(given) if hasattr(spec, "dtype") else spec, (arguments, keywords)
        )
        return concrete(*filled[0], **filled[1])

    return Traceable(ports, call, leaf_names)


def _dims(spec: Any, where: str) -> tuple[int | None, ...]:
    if spec.shape.rank is None:
        raise ModelError(
            f"the rank of input '{spec.name}' is not known",
            where=where,
            remedy="Save the model with an input signature of known rank.",
        )
    return tuple(spec.shape.as_list())


def _open_runner(source: Traceable) -> Runner:
    tf = import_tensorflow(NEEDED_FOR)

    def run(feeds: Mapping[str, Array]) -> list[Array]:
        with silent():
            result = source.call(input_tensors(source.inputs, feeds))
        return [np.asarray(leaf) for leaf in tf.nest.flatten(result)]

    return run
