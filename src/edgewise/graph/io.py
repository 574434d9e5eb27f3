"""Reading and writing ONNX files; every way a file can be wrong becomes one clear error."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import google.protobuf.message
import onnx
import onnx_ir as ir

from edgewise.errors import ModelError, UsageError
from edgewise.files import staged

#: protobuf refuses messages of 2 GB; a model near it keeps its weights beside the file
_EXTERNAL_ABOVE_BYTES = 1_800_000_000


def load(source: str | Path | ir.Model) -> ir.Model:
    """The model at `source`, or `source` itself when it is a model already.

    External data is read into memory, and only from the model's own folder.

    Raises:
        UsageError: the path does not exist or is a folder.
        ModelError: the file is truncated, is not ONNX, or names data outside its folder.
    """
    if isinstance(source, ir.Model):
        return source
    path = Path(source)
    if not path.exists():
        raise UsageError("no such file", where=str(path), remedy="Check the model's path.")
    if path.is_dir():
        raise UsageError("is a folder, not a model file", where=str(path))
    try:
        proto = onnx.load_model(path, load_external_data=False)
    except (google.protobuf.message.DecodeError, ValueError, UnicodeDecodeError) as error:
        raise _unreadable(path, "it is truncated, or not an ONNX file") from error
    except OSError as error:
        raise _unreadable(path, error.strerror or "the file cannot be opened") from error
    if not proto.graph.node and not proto.graph.output:
        raise _unreadable(path, "it holds no graph: it is truncated, or not an ONNX file")
    refuse_maps(proto, str(path))
    _read_external_data(proto, path)
    try:
        return ir.from_proto(proto)
    except Exception as error:  # onnx-ir raises many types on malformed protos
        raise _unreadable(path, f"its graph is malformed ({error})") from error


def refuse_maps(proto: onnx.ModelProto, where: str) -> None:
    """Raises ModelError for a map at the border: converters of scikit-learn write them."""
    for value in (*proto.graph.input, *proto.graph.output):
        inner = value.type
        while (kind := inner.WhichOneof("value")) in ("sequence_type", "optional_type"):
            inner = getattr(inner, kind).elem_type
        if kind == "map_type":
            raise ModelError(
                f"'{value.name}' is a map",
                where=where,
                why="a model takes and gives tensors here, no dictionaries",
                remedy="Convert it without ZipMap (skl2onnx: options={'zipmap': False}).",
            )


def _tensors(body: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor: initializers and attributes, of subgraphs too."""
    if isinstance(body, onnx.GraphProto):
        yield from body.initializer
    for node in body.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for subgraph in (attribute.g, *attribute.graphs):
                yield from _tensors(subgraph)


def _read_external_data(proto: onnx.ModelProto, path: Path) -> None:
    folder = path.resolve().parent
    for tensor in chain.from_iterable(map(_tensors, (proto.graph, *proto.functions))):
        if not onnx.external_data_helper.uses_external_data(tensor):
            continue
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        target = (folder / location).resolve()
        if not target.is_relative_to(folder):
            raise _unreadable(
                path, f"tensor '{tensor.name}' points outside the model's folder ('{location}')"
            )
        if not target.is_file():
            raise _unreadable(path, f"tensor '{tensor.name}' needs the missing file '{location}'")
    try:
        onnx.load_external_data_for_model(proto, str(folder))
    except Exception as error:  # the checker raises its own types per defect
        raise _unreadable(path, f"its external data cannot be read ({error})") from error


def _unreadable(path: Path, why: str) -> ModelError:
    return ModelError(
        "cannot read the model", where=str(path), why=why, remedy="Export the model again."
    )


def to_bytes(model: ir.Model) -> bytes:
    """The model as deterministic ONNX bytes: the same model gives the same bytes."""
    return bytes(ir.to_proto(model).SerializeToString(deterministic=True))


def save(model: ir.Model, path: str | Path) -> None:
    """Write the model to `path` in one move; large models keep weights in `<name>.data`."""
    path = Path(path)
    size = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value)
    with staged(path) as temporary:
        if size < _EXTERNAL_ABOVE_BYTES:
            temporary.write_bytes(to_bytes(model))
        else:  # the data file's name is stored inside, so it cannot be staged under another name
            ir.save(model, temporary, external_data=path.with_suffix(".data").name)
            (temporary.parent / path.with_suffix(".data").name).replace(path.with_suffix(".data"))
