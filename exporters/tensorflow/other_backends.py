"""Keras 3 on the torch and JAX backends, by Keras' own exporter.

It writes through TorchScript's exporter or through jax2onnx. Of MobileNetV2 all three ways end as
the same hub model; of torch's two exporters TorchScript's, which Keras takes for free batches, is
four times as fast (7 s beside 31 s for 96 x 96), and it names nodes after operators either way.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.exporters.extras import import_extra
from edgewise.exporters.tensorflow.keras_library import Library
from edgewise.exporters.tensorflow.libraries import silent
from edgewise.exporters.tensorflow.names import rename_border
from edgewise.exporters.tensorflow.traceable import Result, Traceable, unique
from edgewise.graph import load
from edgewise.references import describe

_OPSET = 18
#: backend -> the library that Keras exports it with
_WRITERS = {"torch": "torch", "jax": "jax2onnx"}


def write_on_backend(
    model: Any, library: Library, source: Traceable, where: str
) -> tuple[ir.Model, str]:
    """The model as ONNX, and what wrote it.

    Raises:
        UsageError: the library that Keras exports this backend with is missing.
        ModelError: Keras cannot run or export the model, or the backend has no exporter.
    """
    backend = library.backend
    if backend not in _WRITERS:
        raise ModelError(
            f"Keras exports no models of its {backend} backend",
            where=where,
            remedy="Set KERAS_BACKEND=tensorflow.",
        )
    import_extra(_WRITERS[backend], needed_for=f"Keras models on the {backend} backend")
    keras = library.module
    specs = [
        keras.InputSpec(shape=port.sizes, dtype=port.dtype, name=port.name)
        for port in source.inputs
    ]
    structure = _structure(model, specs)
    try:
        with silent(), tempfile.TemporaryDirectory() as folder:
            result = source.call([keras.ops.convert_to_tensor(p.example()) for p in source.inputs])
            path = Path(folder) / "model.onnx"
            model.export(
                path,
                format="onnx",
                verbose=False,
                input_signature=keras.tree.pack_sequence_as(structure, specs),
                opset_version=_OPSET,
            )
            exported = load(path)
    except Exception as error:  # the backends raise many types
        raise ModelError(
            f"Keras cannot export the model on its {backend} backend",
            where=where,
            why=describe(error),
            remedy="Set KERAS_BACKEND=tensorflow, where more can be exported.",
        ) from error
    rename_border(exported, source.inputs, _outputs(source, result, library))
    writer = _WRITERS[backend]
    return exported, f"Keras' exporter on {backend} ({writer} {version(writer)})"


def _structure(model: Any, specs: list[Any]) -> list[Any]:
    """A Functional model takes its inputs in one nest, others one by one."""
    try:
        return [model.input]
    except (AttributeError, ValueError):
        return specs


def _outputs(source: Traceable, result: Any, library: Library) -> list[Result]:
    """With the batch in front where the inputs have one that is free."""
    names = unique(source.name_outputs(result), [port.name for port in source.inputs])
    port = source.inputs[0]
    batch = port.named_dims[0] if port.dims and port.sizes[0] is None else None
    results = []
    for name, tensor in zip(names, library.tree.flatten(result), strict=True):
        array = library.array(tensor)
        free: list[int | str | None] = [None] * array.ndim
        free[:1] = [batch][: array.ndim]
        results.append(Result(name, tuple(free)))
    return results
