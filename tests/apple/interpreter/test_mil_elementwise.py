"""Arithmetic, comparison, logic, selection and casts against numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgewise.targets.apple._coremltools import Builder as mb

_UNARY: dict[str, tuple[Callable[..., Any], tuple[float, float]]] = {
    "abs": (np.abs, (-3, 3)),
    "acos": (np.arccos, (-1, 1)),
    "asin": (np.arcsin, (-1, 1)),
    "atan": (np.arctan, (-9, 9)),
    "atanh": (np.arctanh, (-0.9, 0.9)),
    "ceil": (np.ceil, (-3, 3)),
    "cos": (np.cos, (-7, 7)),
    "cosh": (np.cosh, (-3, 3)),
    "exp": (np.exp, (-5, 5)),
    "exp2": (np.exp2, (-5, 5)),
    "floor": (np.floor, (-3, 3)),
    "identity": (lambda x: x, (-3, 3)),
    "round": (np.rint, (-3, 3)),
    "sign": (np.sign, (-3, 3)),
    "sin": (np.sin, (-7, 7)),
    "sinh": (np.sinh, (-3, 3)),
    "sqrt": (np.sqrt, (0, 9)),
    "square": (np.square, (-3, 3)),
    "tan": (np.tan, (-1, 1)),
    "tanh": (np.tanh, (-3, 3)),
}
_BINARY: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "floor_div": np.floor_divide,
    "mod": np.mod,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
}


def test_unary_operations(run_mil: Any) -> None:
    rng = np.random.default_rng(0)
    feeds = {
        f"x_{name}": rng.uniform(*bounds, size=(2, 7)).astype(np.float32)
        for name, (_, bounds) in _UNARY.items()
    }

    def build(**variables: Any) -> list[Any]:
        return [getattr(mb, name)(x=variables[f"x_{name}"]) for name in _UNARY]

    for name, result in zip(_UNARY, run_mil(build, feeds), strict=True):
        expected = _UNARY[name][0](feeds[f"x_{name}"].astype(np.float64))
        np.testing.assert_allclose(result, expected, rtol=2e-6, atol=1e-6, err_msg=name)
        assert result.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_binary_operations_broadcast(run_mil: Any, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(-9, 9, (2, 3, 4)).astype(dtype)
    y = rng.integers(1, 5, (3, 1)).astype(dtype)

    def build(x: Any, y: Any) -> list[Any]:
        return [getattr(mb, name)(x=x, y=y) for name in _BINARY]

    for name, result in zip(_BINARY, run_mil(build, {"x": x, "y": y}), strict=True):
        expected = _BINARY[name](x, y)
        assert np.array_equal(result, expected), name
        # coremltools turns a boolean output into fp32: Core ML has no boolean features
        assert result.dtype == (np.float32 if expected.dtype == np.bool_ else dtype), name


def test_division_and_power(run_mil: Any) -> None:
    x = np.array([[7.0, -7.0, 0.5]], np.float32)
    y = np.array([[2.0, 2.0, -3.0]], np.float32)
    quotient, power = run_mil(
        lambda x, y: [mb.real_div(x=x, y=y), mb.pow(x=x, y=y)], {"x": x, "y": y}
    )
    assert np.array_equal(quotient, x / y)
    np.testing.assert_allclose(power, [[49, 49, 8]], rtol=1e-6)


def test_integer_division_truncates(apply_kernel: Any) -> None:
    x, y = np.array([7, -7], np.int32), np.array([2, 2], np.int32)
    assert apply_kernel("real_div", x=x, y=y).tolist() == [3, -3]


def test_epsilon_is_added_before_the_function(run_mil: Any) -> None:
    x = np.array([0.0, 1.0, 4.0], np.float32)

    def build(x: Any) -> list[Any]:
        return [
            mb.log(x=x, epsilon=np.float32(0.5)),
            mb.rsqrt(x=x, epsilon=np.float32(0.25)),
            mb.inverse(x=x, epsilon=np.float32(0.5)),
            mb.inverse(x=x),
            mb.log(x=x),
        ]

    log, rsqrt, inverse, default_inverse, default_log = run_mil(build, {"x": x})
    np.testing.assert_allclose(log, np.log(x + 0.5), rtol=1e-6)
    np.testing.assert_allclose(rsqrt, 1 / np.sqrt(x + 0.25), rtol=1e-6)
    np.testing.assert_allclose(inverse, 1 / (x + 0.5), rtol=1e-6)
    np.testing.assert_allclose(default_inverse, 1 / (x + 1e-4), rtol=1e-5)
    assert np.isfinite(default_log).all()  # the default keeps log(0) finite


def test_logic_and_selection(run_mil: Any) -> None:
    x = np.array([[1.0, -2.0, 3.0, 0.0]], np.float32)

    def build(x: Any) -> list[Any]:
        positive, small = mb.greater(x=x, y=np.float32(0)), mb.less(x=x, y=np.float32(2))
        conditions = [
            mb.logical_and(x=positive, y=small),
            mb.logical_or(x=positive, y=small),
            mb.logical_xor(x=positive, y=small),
            mb.logical_not(x=positive),
        ]
        return [mb.select(cond=cond, a=x, b=np.float32(9)) for cond in conditions]

    positive, small = x > 0, x < 2
    masks = [positive & small, positive | small, positive ^ small, ~positive]
    for result, mask in zip(run_mil(build, {"x": x}), masks, strict=True):
        assert np.array_equal(result, np.where(mask, x, np.float32(9)))


def test_casts(run_mil: Any) -> None:
    x = np.array([2.7, -2.7, 0.0, 1e10, -1e10], np.float32)

    def build(x: Any) -> list[Any]:
        integer = mb.cast(x=x, dtype="int32")
        truth = mb.cast(x=mb.cast(x=x, dtype="bool"), dtype="int32")
        return [integer, truth, mb.cast(x=integer, dtype="fp32"), mb.cast(x=x, dtype="fp16")]

    integer, truth, back, half = run_mil(build, {"x": x})
    assert integer.tolist() == [2, -2, 0, 2**31 - 1, -(2**31)]  # towards zero, saturating
    assert truth.tolist() == [1, 1, 0, 1, 1]
    assert back[:3].tolist() == [2.0, -2.0, 0.0]
    with np.errstate(over="ignore"):
        assert np.array_equal(half, x.astype(np.float16))


def test_round_goes_to_even(run_mil: Any) -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5], np.float32)
    (rounded,) = run_mil(lambda x: mb.round(x=x), {"x": x})
    assert rounded.tolist() == [0.0, 2.0, 2.0, -0.0, -2.0]


def test_infinities_and_nan_are_results(run_mil: Any) -> None:
    x = np.array([0.0, -1.0], np.float32)
    quotient, root = run_mil(lambda x: [mb.real_div(x=np.float32(1), y=x), mb.sqrt(x=x)], {"x": x})
    assert quotient[0] == np.inf
    assert np.isnan(root[1])
