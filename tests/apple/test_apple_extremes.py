"""Functions of one element at the ends of their range: overflow, infinities, zeros and NaN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgewise.targets.apple import TARGET

POSITIVE = [
    0,
    1e-38,
    1e-30,
    1e-7,
    1e-3,
    0.5,
    1,
    5,
    20,
    50,
    80,
    88,
    89,
    100,
    1e4,
    1e10,
    3e38,
    np.inf,
]
X = np.array([*[-x for x in POSITIVE], *POSITIVE, np.nan], np.float32)
PLAIN = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Elu", "Erf",
    "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "IsInf", "IsNaN", "LeakyRelu", "Log",
    "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Sinh",
    "Softplus", "Softsign", "Sqrt", "Tan", "Tanh", "ThresholdedRelu",
)  # fmt: skip
BENT: dict[str, dict[str, Any]] = {"Celu": {"alpha": 0.5}, "Shrink": {"bias": 0.3}}


def test_functions_of_one_element(make: Any, matches_ort: Any) -> None:
    names = (*PLAIN, *BENT)
    outputs = [f"y_{name}" for name in names]
    nodes = [
        helper.make_node(name, ["x"], [output], **BENT.get(name, {}))
        for name, output in zip(names, outputs, strict=True)
    ]
    with np.errstate(all="ignore"):
        matches_ort(make.build_model(nodes, {"x": X}, outputs), {"x": X}, atol=1e-6)


def test_division_by_zero_and_infinity(make: Any, matches_ort: Any) -> None:
    a = np.array([[1], [-1], [0], [np.inf], [np.nan]], np.float32)
    b = np.array([[0, -0.0, 1, np.inf, -np.inf, np.nan]], np.float32)
    names = ["Div", "Mul", "Add", "Sub", "Equal", "Less", "Greater"]
    nodes = [helper.make_node(name, ["a", "b"], [f"y_{name}"]) for name in names]
    feeds = {"a": a, "b": b}
    matches_ort(make.build_model(nodes, feeds, [f"y_{name}" for name in names]), feeds)


def test_a_vector_without_length_has_no_direction(node_matches_ort: Any) -> None:
    x = np.array([[0, 0, 0], [3, 4, 0], [1e-20, 0, 0]], np.float32)
    for order in (1, 2):
        results = node_matches_ort("LpNormalization", [x], {"p": order, "axis": 1})
        assert results["y0"][0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("op_type", ["ReduceLogSumExp", "LogSoftmax", "Softmax"])
def test_exponentials_do_not_overflow(node_matches_ort: Any, op_type: str) -> None:
    x = np.array([[1000, 1001, 999], [-1000, -1000, -1001]], np.float32)
    operands = [x, np.array([1], np.int64)] if op_type == "ReduceLogSumExp" else [x]
    node_matches_ort(op_type, operands)


@pytest.mark.parametrize("slope", [(4,), (3, 1), (1,), (), (2, 3, 4), (3, 4)])
def test_slopes_of_every_shape(node_matches_ort: Any, slope: tuple[int, ...]) -> None:
    node_matches_ort("PRelu", [(2, 3, 4), slope])
    node_matches_ort("PRelu", [(1, 2, 3, 4), slope])


def test_slopes_of_integers(make: Any, tmp_path: Path) -> None:
    """ONNX Runtime has no such kernel."""
    x = np.array([[-70000, 3], [70001, -5]], np.int32)
    model = make.node("PRelu", [x, np.array([3, -2], np.int32)], {}).model()
    found = TARGET.open(TARGET.emit(model, tmp_path / "out", "fp16")).run({"x": x})
    assert found["y0"].tolist() == [[-210000, 3], [70001, 10]]


def test_computed_bounds(make: Any, matches_ort: Any) -> None:
    feeds = {"x": make.random(2, 5), "low": np.array(-0.5, np.float32)}
    nodes = [
        helper.make_node("Abs", ["low"], ["high"]),
        helper.make_node("Clip", ["x", "low", "high"], ["y"]),
    ]
    matches_ort(make.build_model(nodes, feeds, ["y"]), feeds)
