"""Activations, softmax and functions of one element against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewise.targets.android import TARGET

FUNCTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in (
        "Relu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Elu", "LeakyRelu", "Gelu",
        "Softplus", "Softsign", "Mish", "Selu", "Celu", "Erf", "ThresholdedRelu", "Abs", "Ceil",
        "Cos", "Exp", "Floor", "Neg", "Round", "Sign", "Sin", "Reciprocal",
    )),
    ("Elu", {"alpha": 0.5}),
    ("LeakyRelu", {"alpha": 0.3}),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.4}),
    ("Gelu", {"approximate": "tanh"}),
    ("Celu", {"alpha": 2.0}),
]  # fmt: skip
INT8_FUNCTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in (
        "Relu", "HardSwish", "HardSigmoid", "Elu", "LeakyRelu", "Gelu", "Abs",
    )),
    ("HardSigmoid", {"alpha": 1 / 6}),
]  # fmt: skip


@pytest.mark.parametrize(("op_type", "attributes"), FUNCTIONS)
def test_function(
    execute: Any, kit: Any, rng: Any, op_type: str, attributes: dict[str, Any]
) -> None:
    x = rng.standard_normal((1, 3, 5, 7), np.float32) * 3 + np.float32(0.013)
    layer = kit.node(op_type, ["x"], ["y"], **attributes)
    run = execute(kit.model([layer], {"x": x}, {"y": np.float32}), {"x": x})
    assert run.error <= kit.float_tolerance * max(1, float(np.abs(run.expected["y"]).max()))


@pytest.mark.parametrize("op_type", ["Log", "Sqrt"])
def test_function_of_positive_numbers(execute: Any, kit: Any, rng: Any, op_type: str) -> None:
    x = rng.uniform(0.1, 9, (1, 3, 5, 7)).astype(np.float32)
    layer = kit.node(op_type, ["x"], ["y"])
    run = execute(kit.model([layer], {"x": x}, {"y": np.float32}), {"x": x})
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize("output", ["measured", "other"])
@pytest.mark.parametrize(("op_type", "attributes"), INT8_FUNCTIONS)
def test_function_int8(
    execute: Any, kit: Any, rng: Any, op_type: str, attributes: dict[str, Any], output: str
) -> None:
    x = rng.standard_normal((1, 3, 5, 7), np.float32) * 3
    layer = kit.node(op_type, ["x"], ["y"], **attributes)
    float_run = execute(kit.model([layer], {"x": x}, {"y": np.float32}), {"x": x})
    scale, zero_point = kit.measured(float_run.expected["y"])
    parameters = (scale, zero_point) if output == "measured" else (scale * 1.4, -17)
    layer = kit.node(op_type, ["x"], ["y"], **attributes)
    run = execute(kit.int8_model(layer, {"x": x}, parameters), {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert "android/float-island" not in run.rules()


@pytest.mark.parametrize("op_type", ["Sigmoid", "Tanh", "Softmax", "LogSoftmax"])
def test_prescribed_outputs(execute: Any, kit: Any, rng: Any, op_type: str) -> None:
    """At the scheme's parameters nothing follows the kernel; at others a QUANTIZE does."""
    x = rng.standard_normal((1, 12), np.float32) * 2
    fixed = TARGET.scheme("w8a8").fixed_outputs[op_type]
    source = kit.int8_model(kit.node(op_type, ["x"], ["y"]), {"x": x}, tuple_of(fixed))
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert len(kit.kinds(source)) == 1
    foreign = (fixed.scale * 256 / 255, fixed.zero_point)
    source = kit.int8_model(kit.node(op_type, ["x"], ["y"]), {"x": x}, foreign)
    assert kit.kinds(source)[1:] == ["QUANTIZE"]
    assert execute(source, {"x": x}, "w8a8").lsb <= 2.001  # two roundings


def tuple_of(parameters: Any) -> tuple[float, int]:
    return parameters.scale, parameters.zero_point


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
def test_softmax_along_any_axis(execute: Any, kit: Any, rng: Any, op_type: str, axis: int) -> None:
    x = rng.standard_normal((2, 3, 4, 5), np.float32)
    layer = kit.node(op_type, ["x"], ["y"], axis=axis)
    run = execute(kit.model([layer], {"x": x}, {"y": np.float32}), {"x": x})
    assert run.error <= kit.float_tolerance


def test_softmax_over_channels_needs_no_transpose(kit: Any) -> None:
    x = {"x": np.zeros((1, 3, 4, 5), np.float32)}
    layer = kit.node("Softmax", ["x"], ["y"], axis=1)
    assert kit.kinds(kit.model([layer], x, {"y": np.float32})) == ["SOFTMAX"]


@pytest.mark.parametrize("shape", [(3, 1, 1), (1,), (1, 3, 1, 1)])
def test_prelu(execute: Any, kit: Any, rng: Any, shape: tuple[int, ...]) -> None:
    x = rng.standard_normal((1, 3, 4, 5), np.float32)
    slope = rng.uniform(0.1, 0.5, shape).astype(np.float32)
    layer = kit.node("PRelu", ["x", "s"], ["y"])
    run = execute(kit.model([layer], {"x": x}, {"y": np.float32}, {"s": slope}), {"x": x})
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize(
    ("shape", "slope", "perm"),
    [
        ((), (), ()),
        ((4, 1), (1, 4), (1, 0)),
        ((3, 3, 6, 5), (3, 6, 3), (3, 0, 2, 1)),
        ((2, 3, 4), (4, 1, 3), (2, 0, 1)),
    ],
)
@pytest.mark.parametrize("is_constant", [True, False])
def test_prelu_of_any_rank_and_order(
    execute: Any,
    kit: Any,
    rng: Any,
    shape: tuple[int, ...],
    slope: tuple[int, ...],
    perm: tuple[int, ...],
    is_constant: bool,
) -> None:
    x = np.asarray(rng.normal(0, 1, shape), np.float32)
    slopes = {"s": np.asarray(rng.normal(0, 1, slope), np.float32)}
    layers = [kit.node("PRelu", ["t" if perm else "x", "s"], ["y"])]
    if perm:
        layers.insert(0, kit.node("Transpose", ["x"], ["t"], perm=perm))
    feeds = {"x": x} if is_constant else {"x": x} | slopes
    source = kit.model(layers, feeds, {"y": np.float32}, slopes if is_constant else None)
    assert execute(source, feeds).error <= kit.float_tolerance


def test_prelu_int8(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.standard_normal((1, 3, 4, 5), np.float32)
    slope = rng.integers(1, 127, (3, 1, 1)).astype(np.int8)
    layer = kit.node("PRelu", ["x", "s"], ["y"])
    source = kit.int8_model(
        layer, {"x": x}, (0.03, -20), weights={"s": (slope, np.float32(0.004), 0)}
    )
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert "android/float-island" not in run.rules()


@pytest.mark.parametrize("bounds", [(0.0, 6.0), (-0.5, 0.7), (-0.5, np.inf), (-9.0, 9.0)])
@pytest.mark.parametrize("output", [None, (0.011, -40)])
def test_clip_alone_int8(
    execute: Any, kit: Any, rng: Any, bounds: tuple[float, float], output: Any
) -> None:
    x = rng.standard_normal((1, 3, 4, 5), np.float32)
    layer = kit.node("Clip", ["x", "low", "high"], ["y"])
    constants = {"low": np.float32(bounds[0]), "high": np.float32(bounds[1])}
    source = kit.int8_model(layer, {"x": x}, output or kit.measured(x), constants=constants)
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert "android/float-island" not in run.rules()


def test_clip_with_computed_bounds(execute: Any, kit: Any, rng: Any) -> None:
    feeds = {"x": rng.standard_normal((3, 4), np.float32), "low": np.array(-0.2, np.float32)}
    layer = kit.node("Clip", ["x", "low"], ["y"])
    assert execute(kit.model([layer], feeds, {"y": np.float32}), feeds).error == 0


def test_chained_bounds_are_composed(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.standard_normal((1, 3, 4, 5), np.float32) * 4
    nodes = [
        kit.node("Add", ["x", "x"], ["a"]),
        kit.node("Relu", ["a"], ["b"]),
        kit.node("Clip", ["b", "low", "high"], ["y"]),
    ]
    constants = {"low": np.float32(-1), "high": np.float32(6)}
    source = kit.model(nodes, {"x": x}, {"y": np.float32}, constants)
    assert kit.kinds(source) == ["ADD"]
    assert execute(source, {"x": x}).error == 0


@pytest.mark.parametrize("grouping", ["outside", "inside", "left"])
def test_gelu_written_with_erf_is_one_operator(
    execute: Any, kit: Any, rng: Any, grouping: str
) -> None:
    x = rng.standard_normal((1, 3, 4, 5), np.float32) * 3
    head = [
        kit.node("Div", ["x", "root"], ["a"]),
        kit.node("Erf", ["a"], ["e"]),
        kit.node("Add", ["e", "one"], ["f"]),
    ]
    tails = {
        "outside": [kit.node("Mul", ["x", "f"], ["p"]), kit.node("Mul", ["p", "half"], ["y"])],
        "inside": [kit.node("Mul", ["x", "half"], ["p"]), kit.node("Mul", ["p", "f"], ["y"])],
        "left": [kit.node("Mul", ["half", "f"], ["p"]), kit.node("Mul", ["p", "x"], ["y"])],
    }
    constants = {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}
    source = kit.model([*head, *tails[grouping]], {"x": x}, {"y": np.float32}, constants)
    assert kit.kinds(source) == ["GELU"]
    assert execute(source, {"x": x}).error <= kit.float_tolerance


def test_what_only_resembles_gelu_is_left_alone(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.standard_normal((1, 3, 4, 5), np.float32)
    nodes = [
        kit.node("Div", ["x", "root"], ["a"]),
        kit.node("Erf", ["a"], ["e"]),
        kit.node("Add", ["e", "one"], ["f"]),
        kit.node("Mul", ["x", "f"], ["p"]),
        kit.node("Mul", ["p", "third"], ["y"]),
    ]
    constants = {"root": np.float32(2**0.5), "one": np.float32(1), "third": np.float32(1 / 3)}
    source = kit.model(nodes, {"x": x}, {"y": np.float32}, constants)
    assert "GELU" not in kit.kinds(source)
    assert execute(source, {"x": x}).error <= kit.float_tolerance
