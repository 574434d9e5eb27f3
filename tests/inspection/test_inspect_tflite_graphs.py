"""What only TFLite files of other tools hold: loops, recurrent layers, left-out inputs, custom
operators."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgewise.inspection.summary import Summary, summarize
from edgewise.inspection.tflite_network import network_of
from edgewise.targets.android.model import Graph, Operator, Tensor
from edgewise.targets.android.reader import ABSENT, CUSTOM_CODE, UnreadableFile, read_file

FLOAT, INT, BOOL = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.bool_)


def computed(name: str, *shape: int, dtype: Any = FLOAT) -> Tensor:
    return Tensor(shape, dtype, name=name)


def weights(name: str, *shape: int) -> Tensor:
    return Tensor(shape, FLOAT, data=np.ones(shape, np.float32), name=name)


def number(value: int) -> Tensor:
    return Tensor((), INT, data=np.array(value, np.int32), name=f"number {value}")


def operator(kind: str, inputs: list[Tensor], output: Tensor, **options: Any) -> Operator:
    return Operator(kind, tuple(inputs), (output,), options, origin=output.name)


def counting_loop(start: Tensor, limit: int, step: int, kind: str = "LESS") -> Graph:
    """while counter < limit: counter += step, x = x @ w; w is 4 x 4."""
    c0, b0 = computed("c0", dtype=INT), computed("b0", dtype=INT)
    c1, b1 = computed("c1", 1, 4), computed("b1", 1, 4)
    more, after = computed("more", dtype=BOOL), computed("after", dtype=INT)
    product = computed("product", 1, 4)
    condition = Graph([operator(kind, [c0, number(limit)], more)], [c0, c1], [more])
    body = Graph(
        [
            operator("ADD", [b0, number(step)], after),
            operator("FULLY_CONNECTED", [b1, weights("w", 4, 4), ABSENT], product),
        ],
        [b0, b1],
        [after, product],
    )
    x, end, y = computed("x", 1, 4), computed("end", dtype=INT), computed("y", 1, 4)
    loop = Operator(
        "WHILE", (start, x), (end, y), origin="end",
        bodies={"condSubgraphIndex": condition, "bodySubgraphIndex": body},
    )  # fmt: skip
    inputs = [x] if start.data is not None else [start, x]
    return Graph([loop], inputs, [y])


def summary(graph: Graph) -> Summary:
    return summarize(network_of(graph, ()))


@pytest.mark.parametrize(
    ("start", "limit", "step", "kind", "runs"),
    [(0, 7, 1, "LESS", 7), (1, 8, 3, "LESS", 3), (0, 7, 1, "LESS_EQUAL", 8), (9, 7, 1, "LESS", 0)],
)
def test_a_counted_loop(start: int, limit: int, step: int, kind: str, runs: int) -> None:
    found = summary(counting_loop(number(start), limit, step, kind))
    assert found.macs.total == runs * 16
    assert not found.macs.uncounted
    assert found.parameters.count == 16


def test_a_loop_that_data_decide() -> None:
    found = summary(counting_loop(computed("start", dtype=INT), 7, 1))
    assert found.macs.total == 16
    (told,) = found.macs.uncounted
    assert told.operator == "WHILE"


def test_a_recurrent_layer_multiplies_by_its_matrices_once_a_step() -> None:
    """5 units on 3 inputs, four gates, 2 examples of 7 steps; no peepholes, no projection."""
    inputs = [computed("x", 2, 7, 3)]
    inputs += [weights(f"input {gate}", 5, 3) for gate in range(4)]
    inputs += [weights(f"recurrent {gate}", 5, 5) for gate in range(4)]
    inputs += [ABSENT] * 3 + [weights(f"bias {gate}", 5) for gate in range(4)]
    inputs += [ABSENT] * 2 + [computed("state", 2, 5), computed("cell", 2, 5)]
    y = computed("y", 2, 7, 5)
    lstm = operator("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, y)
    found = summary(Graph([lstm], [inputs[0], *inputs[-2:]], [y]))
    assert found.macs.total == 2 * 7 * 4 * (5 * 3 + 5 * 5)
    assert found.parameters.count == 4 * (5 * 3 + 5 * 5 + 5)
    assert found.layers[0].precision == "fp32"


def test_a_custom_operator_goes_by_its_name_and_is_not_counted() -> None:
    x, y = computed("x", 1, 4), computed("y", 1, 4)
    graph = Graph([operator("CUSTOM", [x], y, **{CUSTOM_CODE: "Decode"})], [x], [y])
    found = summary(graph)
    assert found.operators == {"Decode": 1}
    assert found.macs.uncounted[0].operator == "Decode"


def test_bodies_that_run_each_other_are_refused() -> None:
    graph = counting_loop(number(0), 7, 1)
    (loop,) = graph.operators
    loop.bodies["bodySubgraphIndex"].operators.append(loop)
    with pytest.raises(UnreadableFile, match="runs itself"):
        network_of(graph, ())


def packed(code: int, inputs: list[int], custom: bytes | None = None) -> bytes:
    """A file of one operator from tensor 0 to tensor 1."""
    model = schema.ModelT()
    model.version, model.buffers = 3, [schema.BufferT()]
    entry = schema.OperatorCodeT()
    entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), 1
    entry.customCode = custom
    model.operatorCodes = [entry]
    table, tensors = schema.SubGraphT(), []
    for name in (b"x", b"y"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name, np.array([1, 4], np.int32)
        tensors.append(tensor)
    step = schema.OperatorT()
    step.inputs, step.outputs = np.array(inputs, np.int32), np.array([1], np.int32)
    table.tensors, table.operators = tensors, [step]
    table.inputs, table.outputs = np.array([0], np.int32), np.array([1], np.int32)
    model.subgraphs = [table]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_left_out_inputs_are_read_of_foreign_files_alone() -> None:
    content = packed(schema.BuiltinOperator.FULLY_CONNECTED, [0, -1])
    (found,) = read_file(content, foreign=True).main.graph.operators
    assert found.inputs[1] is ABSENT
    with pytest.raises(UnreadableFile, match="no tensor -1"):
        read_file(content)


def test_the_name_of_a_custom_operator_is_read() -> None:
    content = packed(schema.BuiltinOperator.CUSTOM, [0], b"Decode")
    (found,) = read_file(content, foreign=True).main.graph.operators
    assert found.options[CUSTOM_CODE] == "Decode"
