"""ONNX and ORT files as they are written, and other sources as the hub models they become."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.exporters import SourceOptions, hub_model
from edgewise.exporters.check import checker_problem
from edgewise.files import files_below
from edgewise.graph import load
from edgewise.inspection.facts import Part, TensorFacts
from edgewise.inspection.inspected import Inspected, parts_of
from edgewise.inspection.onnx_network import network_of
from edgewise.references import describe

if TYPE_CHECKING:
    from edgewise.exporters.pytorch import Module


def inspect_onnx(path: Path, options: SourceOptions) -> Inspected:
    """Raises ModelError: damaged. UsageError: shapes of other inputs, or of another rank."""
    model = load(path)
    try:
        problem = checker_problem(model)
    except Exception as error:  # onnx-ir cannot write what is no text in the place of a name
        raise _invalid(path, (describe(error).splitlines() or [""])[0]) from error
    if problem:
        raise _invalid(path, problem)
    ends = _ends(model)
    versions, producer = _versions(model), _producer(model)
    parts = _onnx_parts(path, model)
    network = network_of(model, options.input_shapes)

    def hub() -> ir.Model:
        return hub_model(path, options)[1]

    return Inspected(
        "onnx", network, *ends, producer=producer, versions=versions, parts=parts, hub=hub
    )


def _invalid(path: Path, why: str) -> ModelError:
    return ModelError(
        "is not a valid ONNX model", where=str(path), why=why, remedy="Export it again."
    )


def inspect_ort(path: Path, options: SourceOptions) -> Inspected:
    """Raises ModelError: damaged, or of a newer format. UsageError: as `inspect_onnx`."""
    from edgewise.targets.arm.ort_format.graph import to_onnx

    proto, version = to_onnx(path.read_bytes(), str(path))
    try:
        model = ir.from_proto(proto)
    except Exception as error:  # onnx-ir raises many types on malformed protos
        raise ModelError("cannot read the model", where=str(path), why=str(error)) from error
    ends = _ends(model)
    stored = {"constants": _bytes_of_constants(model)}
    return Inspected(
        "ort",
        network_of(model, options.input_shapes),
        *ends,
        producer=_producer(model),
        versions={"ort_format": version, **_versions(model)},
        parts=parts_of(path, stored),
        target="arm",
    )


def inspect_source(source: str | Path | Module | Any, options: SourceOptions) -> Inspected:
    """Whatever `export` takes. Raises what it raises of a source."""
    opened, model = hub_model(source, options)
    copy = ir.from_proto(ir.to_proto(model))
    path = (options.base or Path.cwd()) / source if isinstance(source, str | Path) else None
    exists = path is not None and path.exists()
    make: Callable[[], ir.Model] = lambda: model  # noqa: E731
    return Inspected(
        opened.kind,
        network_of(copy, {}),
        *_ends(model),
        producer=opened.exporter,
        versions={"hub model": f"opset {model.opset_imports.get('', 0)}"},
        parts=_file_parts(path) if exists and path is not None else (),
        hub=make,
        note="figures are those of the hub model, which targets get",
    )


def _ends(model: ir.Model) -> tuple[tuple[TensorFacts, ...], tuple[TensorFacts, ...]]:
    graph = model.graph
    inputs = [value for value in graph.inputs if value.name not in graph.initializers]
    return _facts(inputs), _facts(graph.outputs)


def _facts(values: Iterable[ir.Value]) -> tuple[TensorFacts, ...]:
    return tuple(
        TensorFacts(
            str(value.name),
            None
            if value.shape is None
            else tuple(size if isinstance(size, int) else size.value for size in value.shape),
            _dtype(value),
        )
        for value in values
    )


def _dtype(value: ir.Value) -> str:
    if value.dtype is None:
        return "unknown" if value.type is None else type(value.type).__name__.lower()
    return "string" if value.dtype is ir.DataType.STRING else str(value.dtype.numpy())


def _versions(model: ir.Model) -> dict[str, str]:
    used = {node.domain or "" for node in model.graph.all_nodes()} | {""}
    opsets = {
        domain: version
        for domain, version in model.opset_imports.items()
        if domain.removeprefix("ai.onnx") in used or domain in used
    }
    told = {f"opset{f' of {domain}' if domain else ''}": str(n) for domain, n in opsets.items()}
    return {**told, "ir": str(model.ir_version)}


def _producer(model: ir.Model) -> str:
    return " ".join(text for text in (model.producer_name, model.producer_version) if text)


def _bytes_of_constants(model: ir.Model) -> int:
    total = 0
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and tensor.dtype is not ir.DataType.STRING:
                total += int(tensor.nbytes)
    return total


def _onnx_parts(path: Path, model: ir.Model) -> tuple[Part, ...]:
    """The constants and the rest of the file; external data are files of their own."""
    import onnx

    outside: dict[str, int] = {}
    inside = _bytes_of_constants(model)
    proto = onnx.load_model(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        if onnx.external_data_helper.uses_external_data(tensor):
            (location,) = (e.value for e in tensor.external_data if e.key == "location")
            outside[location] = (path.parent / location).stat().st_size
            inside -= int(prod(tensor.dims) * _width(tensor.data_type))
    external = tuple(Part(name, size) for name, size in outside.items())
    return (*parts_of(path, {"constants": max(inside, 0)}), *external)


def _width(data_type: int) -> float:
    return ir.DataType(data_type).itemsize


def _file_parts(path: Path) -> tuple[Part, ...]:
    if path.is_file():
        return (Part(path.name, path.stat().st_size),)
    return tuple(
        Part(file.relative_to(path).as_posix(), file.stat().st_size) for file in files_below(path)
    )
