"""Kernels that work in place overwrite nothing that is still to be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgewise.targets.android.flatbuffer import serialize
from edgewise.targets.android.kinds import KINDS
from edgewise.targets.android.model import Graph, Operator, Tensor
from edgewise.targets.android.shared_memory import keep_apart, overwriting
from edgewise.targets.android.verify import problems

FLOAT = np.dtype(np.float32)
SHAPE = (1, 4, 4, 4)
FUSED = {"fusedActivationFunction": 0}
BINARY = {
    "ADD": FUSED, "SUB": FUSED, "MUL": FUSED, "DIV": FUSED, "MAXIMUM": {}, "MINIMUM": {},
    "POW": {}, "FLOOR_MOD": {}, "SQUARED_DIFFERENCE": {}, "PRELU": {}, "ATAN2": {},
}  # fmt: skip
UNARY = {
    "ABS": {}, "CEIL": {}, "COS": {}, "ELU": {}, "EXP": {}, "FLOOR": {}, "GELU": {},
    "HARD_SWISH": {}, "LEAKY_RELU": {"alpha": 0.5}, "LOG": {}, "LOGISTIC": {}, "LOG_SOFTMAX": {},
    "NEG": {}, "RELU": {}, "RELU6": {}, "ROUND": {}, "RSQRT": {}, "SIGN": {}, "SIN": {},
    "SOFTMAX": {"beta": 1.0}, "SQRT": {}, "TANH": {},
}  # fmt: skip
OTHERS: dict[str, tuple[list[list[int]], dict[str, Any]]] = {
    "BROADCAST_TO": ([[*SHAPE]], {}),
    "CUMSUM": ([[1]], {}),
    "MEAN": ([[0]], {"keepDims": True}),
    "RESHAPE": ([[*SHAPE]], {"newShape": np.array(SHAPE, np.int32)}),
    "REVERSE_V2": ([[1]], {}),
    "SLICE": ([[0] * 4, [*SHAPE]], {}),
    "STRIDED_SLICE": ([[0] * 4, [*SHAPE], [1] * 4], {}),
    "SUM": ([[0]], {"keepDims": True}),
    "TILE": ([[1] * 4], {}),
    "TRANSPOSE": ([[0, 1, 2, 3]], {}),
}


def _ints(*numbers: int) -> Tensor:
    data = np.array(numbers, np.int32)
    return Tensor(data.shape, data.dtype, data=data)


def _operator(kind: str, source: Tensor, target: Tensor) -> Operator:
    if kind in BINARY:
        other = Tensor(SHAPE, FLOAT, data=np.full(SHAPE, 2, np.float32))
        return Operator(kind, (source, other), (target,), dict(BINARY[kind]), KINDS[kind].version)
    if kind in UNARY:
        return Operator(kind, (source,), (target,), dict(UNARY[kind]), KINDS[kind].version)
    if kind == "DYNAMIC_UPDATE_SLICE":
        part = Tensor((1, 1, 1, 1), FLOAT, data=np.ones((1, 1, 1, 1), np.float32))
        return Operator(kind, (source, part, _ints(0, 0, 0, 0)), (target,))
    operands, options = OTHERS[kind]
    tensors = [_ints(*numbers) for numbers in operands]
    return Operator(kind, (source, *tensors), (target,), options, KINDS[kind].version)


def _run(graph: Graph, x: Any) -> list[Any]:
    interpreter = Interpreter(
        model_content=serialize(graph),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def _tensors(count: int, shape: tuple[int, ...] = SHAPE) -> list[Tensor]:
    return [Tensor(shape, FLOAT) for _ in range(count)]


@pytest.mark.parametrize("kind", [*BINARY, *UNARY, *OTHERS, "DYNAMIC_UPDATE_SLICE"])
def test_what_the_runtime_overwrites_is_known(kind: str) -> None:
    """x -> a -> v -> (r -> kind -> y -> the end, and w); without copies, w shows what happened."""
    x, a, v, r, y, end, w = _tensors(7)
    graph = Graph(
        [
            _operator("ABS", x, a),
            _operator("RESHAPE", a, v),
            _operator("RESHAPE", v, r),
            _operator(kind, r, y),
            _operator("ABS", y, end),
            _operator("ABS", v, w),
        ],
        [x],
        [end, w],
        ["x"],
        ["end", "w"],
    )
    numbers = np.linspace(0.1, 0.9, 64, dtype=np.float32).reshape(SHAPE)
    found = list(overwriting(graph))
    survived = np.array_equal(_run(graph, numbers)[1], numbers)
    if kind == "RESHAPE":
        assert survived and not found  # it shares, and changes nothing
        return
    assert survived == (not found)
    expected = [(3, r)] if found else []
    assert found == expected
    keep_apart(graph)
    assert not list(overwriting(graph))
    np.testing.assert_array_equal(_run(graph, numbers)[1], numbers)


def _chain(shape: tuple[int, ...], signature: tuple[int, ...] | None = None) -> Graph:
    x, a, v, r, y, end, w = _tensors(7, shape)
    r.shape_signature = signature
    dims = np.array(shape, np.int32)
    reshapes = [
        Operator("RESHAPE", (one, _ints(*shape)), (two,), {"newShape": dims})
        for one, two in ((a, v), (v, r))
    ]
    operators = [
        Operator("ABS", (x,), (a,)),
        *reshapes,
        Operator("SOFTMAX", (r,), (y,), {"beta": 1.0}, origin="n"),
        Operator("ABS", (y,), (end,)),
        Operator("ABS", (v,), (w,)),
    ]
    return Graph(operators, [x], [end, w], ["x"], ["end", "w"])


@pytest.mark.parametrize("shape", [(6,), (2, 3), (2, 1, 2, 1, 3), (1, 2, 1, 3, 2, 2)])
def test_every_rank(shape: tuple[int, ...]) -> None:
    graph = _chain(shape)
    numbers = np.linspace(0.1, 0.9, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    assert not np.array_equal(_run(graph, numbers)[1], numbers)
    keep_apart(graph)
    softmax, kept = _run(graph, numbers)
    np.testing.assert_array_equal(kept, numbers)
    exponents = np.exp(numbers)
    np.testing.assert_allclose(softmax, exponents / exponents.sum(-1, keepdims=True), rtol=1e-5)


def test_free_dimensions_stay_free() -> None:
    graph = _chain((1, 4), (-1, 4))
    keep_apart(graph)
    (copy,) = [operator for operator in graph.operators if operator.kind == "SLICE"]
    assert copy.origin == "n" and copy.outputs[0].shape_signature == (-1, 4)
    assert copy.inputs[2].data is not None and copy.inputs[2].data.tolist() == [-1, 4]


def test_bodies_are_kept_apart_too() -> None:
    body = _chain((2, 3))
    keep_apart(Graph([Operator("IF", (), (), bodies={"thenSubgraphIndex": body})]))
    assert "SLICE" in [operator.kind for operator in body.operators]


def test_the_verifier_names_it() -> None:
    found = [text for operator, text in problems(_chain((2, 3))) if operator is not None]
    assert any("which others read" in text for text in found)


def test_in_a_model(execute: Any, kit: Any, rng: Any) -> None:
    """int16 kernels are the runtime's own, so that nothing hides what they do."""
    feeds = {"x": rng.standard_normal((1, 2, 3, 4), np.float32)}
    constants = {
        "w": rng.standard_normal((2, 2, 1, 1), np.float32),
        "rows": np.array([1, 2, 3, 4, 1]),
    }
    layers = [
        kit.node("Conv", ["x", "w"], ["c"]),
        kit.node("Reshape", ["c", "rows"], ["v"]),
        kit.node("Softmax", ["v"], ["s"], axis=3),
        kit.node("Neg", ["s"], ["y"]),
        kit.node("LayerNormalization", ["v", "scale"], ["z"], axis=3),
    ]
    constants["scale"] = np.ones((4, 1), np.float32)
    source = kit.model(layers, feeds, {"y": np.float32, "z": np.float32}, constants)
    run = execute(kit.calibrated(source, [feeds], "w8a16"), feeds, "w8a16")
    assert run.error <= 1e-3
