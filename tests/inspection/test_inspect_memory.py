"""The activation peak: by hand, and against a walk that knows nothing of buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from edgewise.inspection.memory import liveness
from edgewise.inspection.network import Network, Operation, Value
from edgewise.inspection.onnx_network import network_of
from edgewise.inspection.precision import forms_of
from edgewise.inspection.summary import summarize

UNIT = 4  # bytes of a float


def network(
    operations: list[tuple[str, str, list[str]]], sizes: dict[str, int], outputs: list[str]
) -> Network:
    """Operations as (effect, result, reads); an input is what nothing makes."""
    made = [result for _, result, _ in operations]
    return Network(
        tuple(
            Operation(result, effect, tuple(reads), (result,), effect=effect)  # type: ignore[arg-type]
            for effect, result, reads in operations
        ),
        {name: Value(name, (size,), "float32") for name, size in sizes.items()},
        tuple(name for name in sizes if name not in made),
        tuple(outputs),
    )


def peaks(graph: Network) -> list[int | None]:
    return list(liveness(graph, forms_of(graph)).live)


def test_by_hand() -> None:
    """x(10) -> a(20); a, x -> b(5); a -> c(20): a dies behind c, x behind b."""
    graph = network(
        [("compute", "a", ["x"]), ("compute", "b", ["a", "x"]), ("compute", "c", ["a"])],
        {"x": 10, "a": 20, "b": 5, "c": 20},
        ["b", "c"],
    )
    assert peaks(graph) == [30 * UNIT, 35 * UNIT, 45 * UNIT]
    assert liveness(graph, forms_of(graph)).at == "c"


def test_a_view_shares_its_bytes_and_keeps_them_alive() -> None:
    graph = network(
        [("compute", "a", ["x"]), ("view", "v", ["a"]), ("compute", "b", ["x"]),
         ("compute", "y", ["v", "b"])],
        {"x": 1, "a": 8, "v": 8, "b": 2, "y": 1},
        ["y"],
    )  # fmt: skip
    assert peaks(graph) == [9 * UNIT, 9 * UNIT, 11 * UNIT, 11 * UNIT]


def test_pointwise_operators_write_over_what_dies() -> None:
    chain = [("compute", "a", ["x"]), ("function", "r", ["a"]), ("pointwise", "s", ["r", "x"])]
    graph = network(chain, {"x": 8, "a": 8, "r": 8, "s": 8}, ["s"])
    assert peaks(graph) == [16 * UNIT, 16 * UNIT, 16 * UNIT]


def test_nothing_writes_over_an_input_of_the_model_or_what_is_read_again() -> None:
    graph = network(
        [("function", "r", ["x"]), ("function", "t", ["r"]), ("pointwise", "s", ["r", "t"])],
        {"x": 8, "r": 8, "t": 8, "s": 8},
        ["s"],
    )
    assert peaks(graph) == [16 * UNIT, 16 * UNIT, 16 * UNIT]  # x is read by r alone, and freed
    kept = network([("function", "r", ["x"])], {"x": 8, "r": 8}, ["r", "x"])
    assert peaks(kept) == [16 * UNIT]


def test_an_output_stays_to_the_end() -> None:
    graph = network(
        [("compute", "a", ["x"]), ("compute", "b", ["x"])], {"x": 1, "a": 5, "b": 5}, ["a", "b"]
    )
    assert peaks(graph) == [6 * UNIT, 11 * UNIT]


def test_an_unknown_size_is_named() -> None:
    graph = network([("compute", "a", ["x"])], {"x": 1, "a": 1}, ["a"])
    unknown = Network(
        graph.operations, {**graph.values, "a": Value("a", None, "float32")}, ("x",), ("a",)
    )
    found = liveness(unknown, forms_of(unknown))
    assert (found.peak, found.unknown) == (None, "a")


@st.composite
def graphs(draw: st.DrawFn) -> Network:
    """Operators that only make new tensors and views, in an order that is topological."""
    names = ["x"]
    sizes = {"x": draw(st.integers(1, 9))}
    operations: list[tuple[str, str, list[str]]] = []
    for index in range(draw(st.integers(1, 12))):
        reads = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
        effect = draw(st.sampled_from(["compute", "compute", "view"]))
        name = f"t{index}"
        sizes[name] = sizes[reads[0]] if effect == "view" else draw(st.integers(1, 9))
        operations.append((effect, name, reads))
        names.append(name)
    return network(operations, sizes, draw(st.lists(st.sampled_from(names), min_size=1)))


def simulated(graph: Network) -> list[int]:
    """For each operator: every root tensor that was made and that somebody still reads."""
    roots: dict[str, str] = {name: name for name in graph.inputs}
    for operation in graph.operations:
        for name in operation.writes:
            roots[name] = roots[operation.reads[0]] if operation.effect == "view" else name
    found = []
    for position in range(len(graph.operations)):
        made = {*graph.inputs}.union(*(op.writes for op in graph.operations[: position + 1]))
        now = set(graph.operations[position].writes)
        later = set(graph.outputs).union(*(op.reads for op in graph.operations[position:]))
        wanted = {roots[name] for name in made if name in later or name in now}
        never_read = {name for name in graph.inputs if position == 0 and roots[name] not in wanted}
        found.append(sum(graph.values[name].bytes or 0 for name in wanted | never_read))
    return found


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_against_an_independent_simulation(graph: Network) -> None:
    assert peaks(graph) == simulated(graph)


def test_marks_of_a_quantized_model_take_nothing(make_graph: Any) -> None:
    """Q/DQ around a Conv: one integer tensor in, one out, floats at the model's ends only."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], "q0"),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], "d0"),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"], "dw"),
        helper.make_node("Conv", ["xd", "wd"], ["c"], "conv"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("QuantizeLinear", ["r", "s", "z"], ["rq"], "q1"),
        helper.make_node("DequantizeLinear", ["rq", "s", "z"], ["y"], "d1"),
    ]
    constants = {
        "s": np.array(0.1, np.float32), "z": np.array(0, np.int8),
        "w": np.ones((4, 2, 1, 1), np.int8),
    }  # fmt: skip
    found = summarize(network_of(make_graph(nodes, {"x": [1, 2, 8, 8]}, ["y"], constants), {}))
    live = {layer.name: layer.live_bytes for layer in found.layers}
    assert live["q0"] == 128 * 4 + 128  # the caller's floats, and the integers
    assert live["conv"] == 128 + 256
    assert live["relu"] == live["q1"] == 256
    assert live["d1"] == 256 + 256 * 4  # floats leave the model
    assert {layer.name: layer.precision for layer in found.layers} == {
        "q0": "int8", "d0": "int8", "conv": "w8a8", "relu": "int8", "q1": "int8", "d1": "int8",
    }  # fmt: skip


def test_a_body_adds_its_peak(make_graph: Any, matrix_loop: Any) -> None:
    """x0 and y take 16 bytes; inside of the body the number, the condition, x and z 41."""
    constants = {"n": np.array(3, np.int64), "w": np.ones((4, 4), np.float32)}
    found = summarize(network_of(make_graph([matrix_loop], {"x0": [1, 4]}, ["y"], constants), {}))
    assert found.layers[0].live_bytes == 16 + 16 + 8 + 1 + 16 + 16
