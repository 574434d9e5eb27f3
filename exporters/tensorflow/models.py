"""Keras models in memory, of Keras 3 and of Keras 2 (`tf_keras`).

1. Functional and Sequential models say what they take and give: names are those of the input and
   output layers, or the keys of dictionaries.
2. Subclassed models say it by `input_signature` of a `call` that is a `tf.function`, or by the
   shapes that they were built with; otherwise the user says it. Names are those of `call`'s
   parameters, or the keys of the dictionary that it takes.
3. Keras 3 on the torch or the JAX backend, where the process has one of them: the model runs there,
   and Keras' own exporter writes it (`other_backends`).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from edgewise.errors import ModelError, UsageError
from edgewise.exporters.opened import Array, LayerRunner, OpenedModel, Runner, SourceOptions
from edgewise.exporters.tensorflow.keras_library import Library
from edgewise.exporters.tensorflow.layers import watching
from edgewise.exporters.tensorflow.libraries import import_keras, import_tf_keras, silent
from edgewise.exporters.tensorflow.other_backends import write_on_backend
from edgewise.exporters.tensorflow.traceable import (
    Port,
    Traceable,
    fixed_ports,
    leaf_names,
    unique,
)
from edgewise.exporters.tensorflow.writer import exporter_text, input_tensors, write_onnx

_NEEDED_FOR = "Keras models"
_NOT_INPUTS = ("self", "training", "mask")


def open_keras_model(model: object, options: SourceOptions, where: str) -> OpenedModel:
    """Export a Keras model for inference: layers such as dropout and augmentation do nothing.

    Raises:
        UsageError: TensorFlow or tf2onnx is missing, or the shapes of a subclassed model are.
        ModelError: it is not a model, takes text, or cannot be traced or written as ONNX.
    """
    library = _library(model)
    if not isinstance(model, library.module.Model):
        raise ModelError(
            "is no Keras model",
            where=where,
            why=f"found {type(model).__name__}",
            remedy="Return a keras.Model: put a layer into a keras.Sequential.",
        )
    source = _traceable(model, library, options, where)
    if library.backend == "tensorflow":
        exported, exporter = write_onnx(source, where, _NEEDED_FOR), exporter_text()
    else:
        exported, exporter = write_on_backend(model, library, source, where)
    return OpenedModel(
        "keras",
        exported,
        partial(_open_runner, source, library),
        exporter=f"{exporter}, Keras {library.module.__version__}",
        open_layers=partial(_open_layers, source, library),
    )


def _library(model: object) -> Library:
    roots = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    if "tf_keras" in roots:
        return Library(import_tf_keras(_NEEDED_FOR), 2)
    return Library(import_keras(), 3)


def _traceable(model: Any, library: Library, options: SourceOptions, where: str) -> Traceable:
    known = _known_inputs(model)
    if known:
        source = _functional(model, known, library)
    else:
        source = _subclassed(model, library, options, where)
    layers = tuple(model._flatten_layers())  # itself, too
    ports = fixed_ports(source.inputs, options.input_shapes, where)
    return Traceable(ports, source.call, source.name_outputs, layers, model, batched=True)


def _known_inputs(model: Any) -> list[Any]:
    """Symbolic inputs of a Functional or a built Sequential model."""
    try:
        return list(model.inputs or [])
    except (AttributeError, ValueError):
        return []


def _functional(model: Any, inputs: Sequence[Any], library: Library) -> Traceable:
    names = unique([str(name) for name in getattr(model, "input_names", None) or _names(inputs)])
    ports = tuple(
        Port(name, tuple(tensor.shape), _dtype(tensor.dtype))
        for name, tensor in zip(names, inputs, strict=True)
    )
    structure = _structure(model, inputs)

    def call(tensors: Sequence[Any]) -> Any:
        return model(library.tree.pack_sequence_as(structure, list(tensors)), training=False)

    def name_outputs(result: Any) -> list[str]:
        if isinstance(result, Mapping):
            return leaf_names(result)
        given = [str(name) for name in getattr(model, "output_names", None) or ()]
        if isinstance(model, library.module.Sequential):
            given = [str(model.layers[-1].name)]
        return (
            unique(given) if len(given) == len(library.tree.flatten(result)) else leaf_names(result)
        )

    return Traceable(ports, call, name_outputs)


def _structure(model: Any, inputs: Sequence[Any]) -> Any:
    """The nest in which the model takes its inputs; a Sequential has no say in that."""
    try:
        return model.input
    except AttributeError:
        return inputs[0] if len(inputs) == 1 else list(inputs)


def _names(inputs: Iterable[Any]) -> list[str]:
    """Of the input layers; tensors that nobody named have a number that depends on the process."""
    return [str(tensor._keras_history[0].name) for tensor in inputs]


def _dtype(dtype: Any) -> str:
    return str(getattr(dtype, "name", dtype))


def _subclassed(model: Any, library: Library, options: SourceOptions, where: str) -> Traceable:
    parameters = [
        parameter
        for parameter in inspect.signature(model.call).parameters.values()
        if parameter.name not in _NOT_INPUTS and parameter.kind is not parameter.VAR_KEYWORD
    ]
    names = [parameter.name for parameter in parameters]
    ports = (
        _signature_ports(model, names) or _given_ports(model, options) or _built_ports(model, names)
    )
    if not ports:
        raise UsageError(
            "the shapes of the inputs are not known",
            where=where,
            why=f"the model was never built, and its call takes {', '.join(names) or 'anything'}",
            remedy=f"Give --input-shape {names[0] if names else 'x'}=1,224,224,3 ([model] "
            "input_shapes), or call the model once before it is returned.",
        )
    by_name = {port.name for port in ports} <= set(names)

    def call(tensors: Sequence[Any]) -> Any:
        given = {port.name: tensor for port, tensor in zip(ports, tensors, strict=True)}
        first, *others = tensors if by_name else [given]
        if by_name:
            named = {port.name: given[port.name] for port in ports[1:]}
            return model(first, **named, training=False)
        return model(first, *others, training=False)

    return Traceable(ports, call, leaf_names)


def _signature_ports(model: Any, names: Sequence[str]) -> tuple[Port, ...]:
    """Of a `call` that is a tf.function with an input signature."""
    specs = [
        spec for spec in getattr(model.call, "input_signature", None) or () if spec is not None
    ]
    return tuple(
        Port(spec.name or name, tuple(spec.shape), spec.dtype.name)
        for name, spec in zip(names, specs, strict=False)
    )


def _given_ports(model: Any, options: SourceOptions) -> tuple[Port, ...]:
    example = options.example or {}
    default = _dtype(getattr(model, "input_dtype", None) or "float32")
    shapes: dict[str, tuple[int | str | None, ...]] = {
        name: (None, *array.shape[1:]) for name, array in example.items()
    }
    shapes |= {name: tuple(dims) for name, dims in options.input_shapes.items()}
    return tuple(
        Port(name, dims, example[name].dtype.name if name in example else default)
        for name, dims in shapes.items()
    )


def _built_ports(model: Any, names: Sequence[str]) -> tuple[Port, ...]:
    """Of the shapes that the model was built with; their batch is whatever it was built with."""
    config = model.get_build_config() if model.built else None
    config = config or {}
    shapes = config.get("shapes_dict") or config.get("input_shape")
    if isinstance(shapes, Mapping):
        found = {str(key).removesuffix("_shape"): shape for key, shape in shapes.items()}
        if len(found) == 1 and isinstance(next(iter(found.values())), Mapping):
            found = dict(next(iter(found.values())))
        if list(found) == ["input"] and names:
            found = {names[0]: found["input"]}
    elif shapes and names:
        found = {names[0]: shapes}
    else:
        return ()
    dtype = _dtype(getattr(model, "input_dtype", None) or "float32")
    return tuple(Port(name, (None, *shape[1:]), dtype) for name, shape in found.items())


def _open_runner(source: Traceable, library: Library) -> Runner:
    def run(feeds: Mapping[str, Array]) -> list[Array]:
        with silent():
            result = source.call(_tensors(source, library, feeds))
            return [library.array(leaf) for leaf in library.tree.flatten(result)]

    return run


def _tensors(source: Traceable, library: Library, feeds: Mapping[str, Array]) -> list[Any]:
    convert = library.module.ops.convert_to_tensor if library.version > 2 else None
    if convert is None:
        return input_tensors(source.inputs, feeds)
    return [convert(feeds[port.name], dtype=port.dtype) for port in source.inputs]


def _open_layers(source: Traceable, library: Library) -> LayerRunner:
    def run(feeds: Mapping[str, Array]) -> list[tuple[str, Array]]:
        found: list[tuple[str, Array]] = []

        def leave(path: str, result: Any) -> None:
            if not path:
                return  # the model itself
            leaves = [leaf for leaf in library.tree.flatten(result) if library.is_tensor(leaf)]
            found.extend(
                (path if len(leaves) == 1 else f"{path}_{index}", library.array(leaf))
                for index, leaf in enumerate(leaves)
            )

        with silent(), watching(source.layers, lambda path: None, leave, root=source.root):
            source.call(_tensors(source, library, feeds))
        return found

    return run
