"""Arithmetic, comparison, logic, Where and reductions against ONNX Runtime, with broadcasting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

SHAPES = {
    "same": ((1, 4, 5, 6), (1, 4, 5, 6)),
    "channel": ((1, 4, 5, 6), (1, 4, 1, 1)),
    "lower rank": ((1, 4, 5, 6), (5, 6)),
    "rank 3": ((2, 5, 6), (1, 5, 1)),
    "both spread": ((1, 4, 1, 6), (1, 1, 5, 6)),
    "matrix": ((3, 4), (1, 4)),
}
ARITHMETIC = ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"]
REDUCTIONS = [
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
    "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp",
]  # fmt: skip


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("op_type", ARITHMETIC)
def test_arithmetic(execute: Any, kit: Any, rng: Any, op_type: str, shapes: str) -> None:
    a, b = (rng.uniform(0.5, 2, shape).astype(np.float32) for shape in SHAPES[shapes])
    layer = kit.node(op_type, ["a", "b"], ["y"])
    run = execute(kit.model([layer], {"a": a, "b": b}, {"y": np.float32}), {"a": a, "b": b})
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize("constant", [True, False])
def test_arithmetic_int8(
    execute: Any, kit: Any, rng: Any, op_type: str, shapes: str, constant: bool
) -> None:
    a, b = (rng.standard_normal(shape, np.float32) for shape in SHAPES[shapes])
    integers = rng.integers(-127, 128, b.shape).astype(np.int8)
    layer = kit.node(op_type, ["a", "b"], ["y"])
    if constant:
        inputs, weights = {"a": a}, {"b": (integers, np.float32(0.02), 0)}
    else:
        inputs, weights = {"a": a, "b": b}, {}
    run = execute(kit.int8_model(layer, inputs, (0.04, 5), weights=weights), inputs, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert "android/float-island" not in run.rules()


@pytest.mark.parametrize("number", [0.0, -0.3, 1e6])
def test_an_unquantized_scalar_is_exact_in_int8(
    execute: Any, kit: Any, rng: Any, number: float
) -> None:
    x = rng.standard_normal((1, 4, 5, 6), np.float32)
    layer = kit.node("Mul", ["x", "k"], ["y"])
    scale = abs(number) / 30 or 0.01
    source = kit.int8_model(layer, {"x": x}, (scale, 0), constants={"k": np.float32(number)})
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert "android/float-island" not in run.rules()


@pytest.mark.parametrize("op_type", ["Max", "Min", "Sum", "Mean"])
def test_three_inputs(execute: Any, kit: Any, rng: Any, op_type: str) -> None:
    feeds = {name: rng.standard_normal((1, 4, 5, 6), np.float32) for name in "ab"}
    layer = kit.node(op_type, ["a", "k", "b"], ["y"])
    source = kit.model([layer], feeds, {"y": np.float32}, {"k": np.float32(0.1)})
    assert execute(source, feeds).error <= kit.float_tolerance


@pytest.mark.parametrize("op_type", ["Max", "Min"])
def test_extrema_of_different_scales_are_requantized(
    execute: Any, kit: Any, rng: Any, op_type: str
) -> None:
    feeds = {name: rng.standard_normal((1, 4, 5, 6), np.float32) for name in "ab"}
    layer = kit.node(op_type, ["a", "b"], ["y"])
    parameters = {"a": (0.02, 3), "b": (0.03, -7)}
    source = kit.int8_model(layer, feeds, (0.03, 1), input_parameters=parameters)
    run = execute(source, feeds, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    (found,) = (f for f in run.artifact.findings if f.rule == "android/requantize")
    assert found.message.startswith("2 QUANTIZE")


@pytest.mark.parametrize("op_type", ["Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal"])
def test_comparison_and_where(execute: Any, kit: Any, rng: Any, op_type: str) -> None:
    feeds = {name: rng.integers(-2, 3, (1, 4, 5, 6)).astype(np.float32) for name in "ab"}
    nodes = [
        kit.node(op_type, ["a", "b"], ["c"]),
        kit.node("Not", ["c"], ["n"]),
        kit.node("Or", ["n", "c"], ["always"]),
        kit.node("And", ["always", "c"], ["same"]),
        kit.node("Where", ["same", "a", "k"], ["y"]),
    ]
    constants = {"k": np.array([[[[9.0]]]], np.float32)}
    source = kit.model(nodes, feeds, {"y": np.float32, "n": np.bool_}, constants)
    assert execute(source, feeds).error == 0


def test_integers_keep_their_type(execute: Any, kit: Any, rng: Any) -> None:
    feeds = {name: rng.integers(1, 9, (3, 4)).astype(np.int32) for name in "ab"}
    nodes = [
        kit.node("Add", ["a", "b"], ["s"]),
        kit.node("Mod", ["s", "b"], ["m"]),
        kit.node("Mul", ["m", "s"], ["y"]),
    ]
    assert execute(kit.model(nodes, feeds, {"y": np.int32}), feeds).error == 0


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[1], [2, 3], [-1], [0, 1, 2, 3]])
@pytest.mark.parametrize("op_type", REDUCTIONS)
def test_reduction(
    execute: Any, kit: Any, rng: Any, op_type: str, axes: list[int], keepdims: int
) -> None:
    x = rng.uniform(0.5, 1.5, (1, 3, 4, 5)).astype(np.float32)
    layer = kit.node(op_type, ["x", "axes"], ["y"], keepdims=keepdims)
    source = kit.model([layer], {"x": x}, {"y": np.float32}, {"axes": np.array(axes)})
    run = execute(source, {"x": x})
    assert run.error <= kit.float_tolerance * max(1, float(np.abs(run.expected["y"]).max()))


@pytest.mark.parametrize("op_type", ["ReduceMean", "ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("output", [None, (0.03, -9)])
def test_reduction_int8(
    execute: Any, kit: Any, rng: Any, op_type: str, output: tuple[float, int] | None
) -> None:
    x = rng.standard_normal((1, 3, 4, 5), np.float32)
    layer = kit.node(op_type, ["x", "axes"], ["y"], keepdims=0)
    source = kit.int8_model(
        layer, {"x": x}, output or kit.measured(x), constants={"axes": np.array([2, 3])}
    )
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert "android/float-island" not in run.rules()


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
def test_arg(execute: Any, kit: Any, rng: Any, op_type: str, axis: int, keepdims: int) -> None:
    x = rng.standard_normal((2, 3, 4, 5), np.float32)
    layer = kit.node(op_type, ["x"], ["y"], axis=axis, keepdims=keepdims)
    assert execute(kit.model([layer], {"x": x}, {"y": np.int64}), {"x": x}).error == 0


@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("exclusive", [0, 1])
def test_cumulative_sum(execute: Any, kit: Any, rng: Any, exclusive: int, reverse: int) -> None:
    x = rng.standard_normal((1, 3, 4, 5), np.float32)
    layer = kit.node("CumSum", ["x", "axis"], ["y"], exclusive=exclusive, reverse=reverse)
    source = kit.model([layer], {"x": x}, {"y": np.float32}, {"axis": np.array(-2)})
    assert execute(source, {"x": x}).error <= kit.float_tolerance
