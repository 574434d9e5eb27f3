"""Inverse trigonometric functions, the hyperbolic ones, and Erf, in LiteRT against numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edgewise.targets.android import TARGET

CASES: dict[str, tuple[Any, Any]] = {
    "Acos": (np.arccos, np.concatenate([np.linspace(-1, 1, 301), np.linspace(0.999, 1, 50)])),
    "Asin": (np.arcsin, np.concatenate([np.linspace(-1, 1, 301), np.linspace(0.999, 1, 50)])),
    "Atan": (np.arctan, np.array([0, 1e-10, -1e-3, 0.5, -1, 3, 1e6, -3e38, np.inf])),
    "Tan": (np.tan, np.linspace(-1.5, 1.5, 301)),
    "Sinh": (np.sinh, np.concatenate([np.linspace(-88, 88, 301), [1e-4, -1e-10, 0]])),
    "Cosh": (np.cosh, np.linspace(-88, 88, 301)),
    "Asinh": (np.arcsinh, np.concatenate([np.linspace(-9, 9, 301), [1e-4, -1e-10, 0, 1e30, 3e38]])),
    "Acosh": (np.arccosh, np.concatenate([np.linspace(1, 1.01, 50), [2, 5, 1e6, 1e38]])),
    "Atanh": (np.arctanh, np.concatenate([np.linspace(-0.999, 0.999, 301), [1e-4, -1e-10, 0]])),
    "Erf": (np.vectorize(math.erf), np.concatenate([np.linspace(-6, 6, 601), [1e-4, -1e-10, 0]])),
}


@pytest.fixture
def run(kit: Any, tmp_path: Any) -> Any:
    def function(op_type: str, x: Any) -> Any:
        source = kit.model([kit.node(op_type, ["x"], ["y"])], {"x": x}, {"y": np.float32})
        session = TARGET.open(TARGET.emit(source, tmp_path / "out"))
        found = session.run({"x": x})["y"]
        session.close()
        return found

    return function


@pytest.mark.parametrize("op_type", CASES)
def test_every_digit_counts(run: Any, op_type: str) -> None:
    function, points = CASES[op_type]
    x = points.astype(np.float32)
    expected = function(x.astype(np.float64))
    np.testing.assert_allclose(run(op_type, x), expected, rtol=6e-6, atol=1e-30)


def test_angles_outside_of_the_circle_are_not_numbers(run: Any) -> None:
    for op_type in ("Asin", "Acos"):
        assert np.isnan(run(op_type, np.array([1.001, -2], np.float32))).all()


def test_erf_of_what_is_no_number(run: Any) -> None:
    found = run("Erf", np.array([np.nan, np.inf, -np.inf], np.float32))
    assert np.isnan(found[0]) and found[1:].tolist() == [1, -1]


def test_images_keep_their_order(kit: Any) -> None:
    x = np.zeros((1, 2, 3, 4), np.float32)
    source = kit.model([kit.node("Atan", ["x"], ["y"])], {"x": x}, {"y": np.float32})
    assert kit.kinds(source) == ["ATAN2"]
