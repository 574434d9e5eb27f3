"""Integer forms of Neg, Div, Pow, Exp, Log and ReduceSum against the QDQ model in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

#: every number that int8 holds, in an image
STEPS = np.arange(-128, 128, dtype=np.float32).reshape(1, 4, 8, 8)


def ratios(source: float) -> list[float]:
    return [source * factor for factor in (0.3, 1.0, 1.7, 20.0)]


def image(scale: float, zero_point: int) -> Any:
    return ((STEPS - zero_point) * np.float32(scale)).astype(np.float32)


@pytest.mark.parametrize("zero_point", [-128, -10, 0, 60])
@pytest.mark.parametrize("out", ratios(0.02))
def test_neg(execute: Any, kit: Any, zero_point: int, out: float) -> None:
    x = image(0.02, zero_point)
    source = kit.int8_model(
        kit.node("Neg", ["x"], ["y"]), {"x": x}, (out, 7),
        input_parameters={"x": (0.02, zero_point)},
    )  # fmt: skip
    assert kit.kinds(source) == ["SUB"]
    assert execute(source, {"x": x}, "w8a8").lsb <= kit.int8_tolerance


@pytest.mark.parametrize("divisor", [8.0, -0.3, 5.656854, 1e-3])
@pytest.mark.parametrize("zero_point", [-128, 12])
def test_div_by_a_number(execute: Any, kit: Any, divisor: float, zero_point: int) -> None:
    x = image(0.05, zero_point)
    for out in ratios(0.05 / abs(divisor)):
        layer = kit.node("Div", ["x", "d"], ["y"])
        source = kit.int8_model(
            layer, {"x": x}, (out, -3), input_parameters={"x": (0.05, zero_point)},
            constants={"d": np.float32(divisor)},
        )  # fmt: skip
        assert kit.kinds(source) == ["MUL"]
        assert execute(source, {"x": x}, "w8a8").lsb <= kit.int8_tolerance


@pytest.mark.parametrize("divisor", [np.float32([[1, 2]]), np.float32(0)])
def test_div_by_something_else_stays_in_float(execute: Any, kit: Any, divisor: Any) -> None:
    x = np.ones((3, 2), np.float32)
    layer = kit.node("Div", ["x", "d"], ["y"])
    source = kit.int8_model(layer, {"x": x}, (0.02, 0), constants={"d": divisor})
    assert "DIV" in kit.kinds(source)
    assert execute(source, {"x": x}, "w8a8").lsb <= kit.int8_tolerance


@pytest.mark.parametrize("out", [0.004, 0.02, 0.3])
def test_square(execute: Any, kit: Any, out: float) -> None:
    x = image(0.02, -10)
    source = kit.int8_model(
        kit.node("Pow", ["x", "two"], ["y"]), {"x": x}, (out, -128),
        input_parameters={"x": (0.02, -10)}, constants={"two": np.float32(2)},
    )  # fmt: skip
    assert kit.kinds(source) == ["MUL"]
    assert execute(source, {"x": x}, "w8a8").lsb <= kit.int8_tolerance


@pytest.mark.parametrize("zero_point", [-128, -10, 60])
@pytest.mark.parametrize("output", [(0.05, -128), (0.3, -100), (0.001, 0)])
def test_exp(execute: Any, kit: Any, zero_point: int, output: tuple[float, int]) -> None:
    x = image(0.03, zero_point)
    source = kit.int8_model(
        kit.node("Exp", ["x"], ["y"]), {"x": x}, output,
        input_parameters={"x": (0.03, zero_point)},
    )  # fmt: skip
    assert kit.kinds(source) == ["EXP"]
    assert execute(source, {"x": x}, "w8a8").lsb <= kit.int8_tolerance


@pytest.mark.parametrize("output", [(0.05, 50), (0.02, 0), (0.3, 100)])
def test_log(execute: Any, kit: Any, output: tuple[float, int]) -> None:
    """Of 0, too, whose logarithm saturates."""
    x = image(0.03, -128)
    source = kit.int8_model(
        kit.node("Log", ["x"], ["y"]), {"x": x}, output, input_parameters={"x": (0.03, -128)}
    )
    assert kit.kinds(source) == ["LOG"]
    assert execute(source, {"x": x}, "w8a8").lsb <= kit.int8_tolerance


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[1], [2, 3], [-1], [0, 1, 2, 3]])
@pytest.mark.parametrize("output", [(0.02, 3), (0.2, -9), (3.0, 0)])
def test_sum(
    execute: Any, kit: Any, rng: Any, axes: list[int], keepdims: int, output: tuple[float, int]
) -> None:
    x = rng.standard_normal((1, 3, 9, 11), np.float32)
    layer = kit.node("ReduceSum", ["x", "axes"], ["y"], keepdims=keepdims)
    source = kit.int8_model(layer, {"x": x}, output, constants={"axes": np.array(axes)})
    run = execute(source, {"x": x}, "w8a8")
    assert "android/float-island" not in run.rules()
    assert run.lsb <= kit.int8_tolerance
