"""An ORT file as the ONNX graph that it stands for, for whoever looks at it.

The file keeps the nodes as ONNX Runtime left them after its optimizers, the types of all values,
and the constants; everything has its counterpart in ONNX. Numbers of fields are those of `schema`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import onnx

from edgewise.errors import InternalError, ModelError
from edgewise.targets.arm.ort_format.canonical import Chosen, Table, read

_PARAMETER, _VALUE = 2, 1  # kinds of a dimension


def to_onnx(content: bytes, where: str) -> tuple[onnx.ModelProto, str]:
    """The model of an ORT file, and the version of ONNX Runtime's format that it is in.

    Raises ModelError, with `where` in it: the file is damaged, or of another version.
    """
    try:
        root = read(content)
        return _model(root[1]), str(root.get(0, ""))
    except InternalError as error:
        raise _unreadable(where, error.why or error.what) from error
    except (struct.error, IndexError, KeyError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(where, "it is truncated or damaged") from error


def _unreadable(where: str, why: str) -> ModelError:
    return ModelError("cannot read the model", where=where, why=why, remedy="Convert it again.")


def _model(table: Table) -> onnx.ModelProto:
    model = onnx.ModelProto(
        ir_version=_int(table.get(0)),
        producer_name=table.get(2, ""),
        producer_version=table.get(3, ""),
        graph=_graph(table[7]),
    )
    for entry in table.get(1, ()):
        model.opset_import.add(domain=entry.get(0, ""), version=_int(entry.get(1)))
    return model


def _graph(table: Table) -> onnx.GraphProto:
    """The values of a graph are told together; inputs and outputs are names among them."""
    told = {entry[0]: entry for entry in table.get(1, ())}
    graph = onnx.GraphProto(name="graph")
    stored = {entry[0] for entry in table.get(0, ())}
    graph.initializer.extend(_tensor(entry) for entry in table.get(0, ()))
    graph.input.extend(_value(told, name) for name in table.get(5, ()) if name not in stored)
    graph.output.extend(_value(told, name) for name in table.get(6, ()))
    ends = {*table.get(5, ()), *table.get(6, ()), *stored}
    graph.value_info.extend(_value(told, name) for name in told if name and name not in ends)
    graph.node.extend(_node(entry) for entry in table.get(2, ()))
    return graph


def _tensor(table: Table) -> onnx.TensorProto:
    tensor = onnx.TensorProto(
        name=table.get(0, ""), dims=_ints(table.get(2)), data_type=_int(table.get(3))
    )
    if 5 in table:
        tensor.string_data.extend(text.encode() for text in table[5])
    else:
        tensor.raw_data = table.get(4, b"")
    return tensor


def _value(told: dict[str, Table], name: str) -> onnx.ValueInfoProto:
    value = onnx.ValueInfoProto(name=name)
    chosen = told.get(name, {}).get(2, {}).get(2)
    if isinstance(chosen, Chosen) and chosen.name == "TensorTypeAndShape":
        kind = value.type.tensor_type
        kind.elem_type = _int(chosen.table.get(0))
        if 1 in chosen.table:
            kind.shape.SetInParent()
            for dimension in chosen.table[1].get(0, ()):
                _add_dimension(kind.shape, dimension.get(0, {}))
    return value


def _add_dimension(shape: onnx.TensorShapeProto, size: Table) -> None:
    kind = _int(size.get(0))
    if kind == _VALUE:
        shape.dim.add(dim_value=_int(size.get(1)))
    else:
        shape.dim.add(**({"dim_param": size.get(2, "")} if kind == _PARAMETER else {}))


def _node(table: Table) -> onnx.NodeProto:
    node = onnx.NodeProto(
        name=table.get(0, ""),
        domain=table.get(2, ""),
        op_type=table.get(5, ""),
        input=table.get(8, ()),
        output=table.get(9, ()),
    )
    node.attribute.extend(_attribute(entry) for entry in table.get(10, ()))
    return node


def _attribute(table: Table) -> onnx.AttributeProto:
    number = _int(table.get(2))
    kind = onnx.AttributeProto.AttributeType.Name(number)
    attribute = onnx.AttributeProto(name=table.get(0, ""), type=kind)
    if kind == "FLOAT":
        attribute.f = struct.unpack("<f", table.get(3, bytes(4)))[0]
    elif kind == "INT":
        attribute.i = _int(table.get(4))
    elif kind == "STRING":
        attribute.s = table.get(5, "").encode()
    elif kind == "TENSOR":
        attribute.t.CopyFrom(_tensor(table[6]))
    elif kind == "GRAPH":
        attribute.g.CopyFrom(_graph(table[7]))
    elif kind == "FLOATS":
        attribute.floats.extend(number for (number,) in struct.iter_unpack("<f", table.get(8, b"")))
    elif kind == "INTS":
        attribute.ints.extend(_ints(table.get(9)))
    elif kind == "STRINGS":
        attribute.strings.extend(text.encode() for text in table.get(10, ()))
    return attribute


def _int(number: bytes | None) -> int:
    return 0 if number is None else int.from_bytes(number, "little", signed=True)


def _ints(numbers: bytes | None) -> Iterator[int]:
    return (number for (number,) in struct.iter_unpack("<q", numbers or b""))
