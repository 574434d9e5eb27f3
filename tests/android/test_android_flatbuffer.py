"""The bytes of the written file: identifier, alignment, sharing, names, versions, determinism."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgewise.targets.android import kinds as kinds_module
from edgewise.targets.android.builder import FLOAT32, Builder
from edgewise.targets.android.flatbuffer import BUFFER_ALIGNMENT, serialize
from edgewise.targets.android.kinds import KINDS
from edgewise.targets.android.model import Graph, Tensor
from edgewise.targets.android.ops import table
from edgewise.targets.android.runtime import load


def _graph(names: tuple[str, ...] = ("a", "b")) -> Graph:
    """y = (x + constant) * (another tensor of the same content)"""
    builder = Builder()
    builder.origin = "layer"
    x = Tensor((1, 50), FLOAT32, name="x")
    builder.graph.inputs, builder.graph.input_names = [x], ["x"]
    content = np.arange(50, dtype=np.float32)[None]
    first, second = (builder.constant(content.copy(), name) for name in names)
    total = builder.add("ADD", [x, first], (1, 50), FLOAT32)
    product = builder.add("MUL", [total, second], (1, 50), FLOAT32)
    builder.graph.outputs, builder.graph.output_names = [product], ["y"]
    return builder.graph


def _read(content: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(bytearray(content))


def test_the_file_begins_with_its_identifier_and_version() -> None:
    content = serialize(_graph())
    assert content[4:8] == b"TFL3"
    assert _read(content).version == 3


def test_the_same_graph_gives_the_same_bytes() -> None:
    assert serialize(_graph()) == serialize(_graph())


def test_every_buffer_is_aligned() -> None:
    content = serialize(_graph(), {"note": b"twenty bytes of note"})
    model = schema.Model.GetRootAsModel(content, 0)
    offsets = []
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength():
            table_field = buffer._tab.Offset(4)
            offsets.append(buffer._tab.Vector(table_field))
    assert len(offsets) == 2
    assert [offset % BUFFER_ALIGNMENT for offset in offsets] == [0, 0]


def test_equal_constants_share_one_buffer_and_buffer_zero_is_empty() -> None:
    model = _read(serialize(_graph()))
    constants = [t for t in model.subgraphs[0].tensors if t.buffer]
    assert len(constants) == 2
    assert {t.buffer for t in constants} == {1}
    assert model.buffers[0].data is None


def test_names_are_unique_and_the_users_names_win() -> None:
    graph = _graph(("x", "x"))
    model = _read(serialize(graph))
    names = [tensor.name.decode() for tensor in model.subgraphs[0].tensors]
    assert names == ["x", "x.1", "layer/add", "x.2", "layer/mul"]


def test_the_signature_speaks_the_names_of_the_graph() -> None:
    signature = _read(serialize(_graph())).signatureDefs[0]
    assert signature.signatureKey == b"serving_default"
    assert [entry.name for entry in signature.inputs] == [b"x"]
    assert [entry.name for entry in signature.outputs] == [b"y"]


def test_metadata_is_a_named_buffer() -> None:
    model = _read(serialize(_graph(), {"note": b"hello"}))
    assert model.metadata[0].name == b"note"
    assert bytes(model.buffers[model.metadata[0].buffer].data) == b"hello"


def test_operators_that_nothing_needs_are_left_out() -> None:
    builder = Builder()
    x = Tensor((2,), FLOAT32, name="x")
    kept = builder.add("ABS", [x], (2,), FLOAT32)
    builder.add("NEG", [x], (2,), FLOAT32)
    builder.graph.inputs, builder.graph.outputs = [x], [kept]
    builder.graph.remove_dead()
    assert [operator.kind for operator in builder.graph.operators] == ["ABS"]


def test_an_option_that_the_schema_lacks_is_an_error() -> None:
    graph = _graph()
    graph.operators[0].options["noSuchField"] = 1
    with pytest.raises(AttributeError, match="AddOptions has no field noSuchField"):
        serialize(graph)


def test_the_runtime_computes_the_graph() -> None:
    interpreter = load(serialize(_graph()), threads=1)
    x = np.full((1, 50), 2, np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    numbers = np.arange(50, dtype=np.float32)[None]
    assert np.array_equal(found, (x + numbers) * numbers)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_exists_in_the_schema(kind: str) -> None:
    assert hasattr(schema.BuiltinOperator, kind)
    options = KINDS[kind].options
    assert options is None or hasattr(schema, f"{options}T")


@pytest.mark.parametrize("module", [table, kinds_module])
def test_no_table_names_a_key_twice(module: Any) -> None:
    tree = ast.parse(inspect.getsource(module))
    for literal in (part for part in ast.walk(tree) if isinstance(part, ast.Dict)):
        keys = [key.value for key in literal.keys if isinstance(key, ast.Constant)]
        assert len(keys) == len(set(keys))
