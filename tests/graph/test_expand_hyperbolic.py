"""Tangent and hyperbolic functions against numpy in double precision."""

from __future__ import annotations

import numpy as np
import pytest

#: range, and the relative error that float32 arithmetic of the expansion may have
CASES = {
    "Tan": (np.tan, np.linspace(-1.5, 1.5, 301), 1e-5),
    "Sinh": (np.sinh, np.linspace(-88, 88, 701), 5e-6),
    "Cosh": (np.cosh, np.linspace(-88, 88, 701), 5e-6),
    "Asinh": (np.arcsinh, np.linspace(-50, 50, 701), 2e-6),
    "Acosh": (np.arccosh, np.linspace(1, 50, 701), 2e-6),
    "Atanh": (np.arctanh, np.linspace(-0.999, 0.999, 701), 2e-6),
}


@pytest.mark.parametrize("op_type", CASES)
def test_function(rewritten, op_type):
    function, points, tolerance = CASES[op_type]
    x = points.astype(np.float32)
    run = rewritten(op_type, [x])
    assert op_type not in run.ops
    expected = function(x.astype(np.float64))
    np.testing.assert_allclose(run.outputs[0], expected, rtol=tolerance, atol=1e-30)


@pytest.mark.parametrize("op_type", ["Sinh", "Asinh", "Atanh"])
def test_small_numbers_keep_their_digits(rewritten, op_type):
    x = np.array([1e-3, -1e-5, 1e-10, 1e-30, 0.0], np.float32)
    (found,) = rewritten(op_type, [x]).outputs
    np.testing.assert_allclose(found, CASES[op_type][0](x.astype(np.float64)), rtol=1e-6)


@pytest.mark.parametrize(
    ("op_type", "x"),
    [("Asinh", [1e4, -1e10, 3e38]), ("Acosh", [1.0, 1.00001, 1e10, 3e38]), ("Atanh", [1.0, -1.0])],
)
def test_ends_of_the_range(rewritten, op_type, x):
    x = np.array(x, np.float32)
    with np.errstate(all="ignore"):
        (found,) = rewritten(op_type, [x]).outputs
        expected = CASES[op_type][0](x.astype(np.float64))
    np.testing.assert_allclose(found, expected, rtol=2e-6)


@pytest.mark.parametrize("op_type", ["Sinh", "Cosh"])
def test_reaches_the_largest_float(rewritten, op_type):
    x = np.array([89.0, -89.0], np.float32)
    (found,) = rewritten(op_type, [x]).outputs
    np.testing.assert_allclose(found, CASES[op_type][0](x.astype(np.float64)), rtol=1e-5)
