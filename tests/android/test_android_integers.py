"""Arithmetic, comparison and bits of integers against numpy, which wraps as ONNX does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

DTYPES = [np.int8, np.uint8, np.int32, np.int64]
SHAPES = [((2, 3, 4, 5), (4, 1)), ((3, 1, 5), (2, 1, 4, 1)), ((), (3,))]
RING = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Max": np.maximum, "Min": np.minimum}
COMPARISONS = {
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
}
BITWISE = {
    "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
}


@pytest.fixture
def check(kit: Any, tmp_path: Any) -> Any:
    """Emits one operator, runs it in LiteRT, and compares with what is expected, bit by bit."""
    from edgewise.targets.android import TARGET

    def run(
        op_type: str,
        feeds: dict[str, Any],
        expected: Any,
        *,
        constants: dict[str, Any] | None = None,
        opset: int = 21,
        **attributes: Any,
    ) -> None:
        names = [*feeds, *(constants or {})]
        layer = kit.node(op_type, names, ["y"], **attributes)
        wanted = np.asarray(expected)
        source = kit.model([layer], feeds, {"y": wanted.dtype}, constants, opset)
        session = TARGET.open(TARGET.emit(source, tmp_path / "out", "fp32"))
        found = session.run(feeds)["y"]
        session.close()
        assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
        assert np.array_equal(found, wanted)

    return run


def integers(rng: Any, dtype: Any, shape: tuple[int, ...]) -> Any:
    """Over the whole range of the type."""
    limits = np.iinfo(dtype)
    return np.asarray(rng.integers(limits.min, limits.max, shape, dtype, endpoint=True))


def divisors(rng: Any, dtype: Any, shape: tuple[int, ...], small: bool) -> Any:
    """Neither 0 nor -1, by which the smallest number has no quotient."""
    found = rng.integers(2, 9, shape, dtype) if small else integers(rng, dtype, shape)
    return np.where(np.isin(found.astype(object), (0, -1)), 3, found).astype(dtype)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op_type", RING)
def test_arithmetic_wraps(check: Any, rng: Any, op_type: str, dtype: Any, shapes: Any) -> None:
    a, b = (integers(rng, dtype, shape) for shape in shapes)
    with np.errstate(over="ignore"):
        expected = RING[op_type](a, b)
    check(op_type, {"a": a, "b": b}, expected)
    check(op_type, {"a": a}, expected, constants={"b": b})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op_type", COMPARISONS)
def test_comparison(check: Any, rng: Any, op_type: str, dtype: Any) -> None:
    a = integers(rng, dtype, (2, 3, 4))
    b = np.where(rng.random(a.shape) < 0.3, a, integers(rng, dtype, a.shape)).astype(dtype)
    check(op_type, {"a": a, "b": b}, COMPARISONS[op_type](a, b))


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_quotients_are_cut_off(check: Any, rng: Any, dtype: Any, small: bool) -> None:
    a, b = integers(rng, dtype, (2, 3, 40)), divisors(rng, dtype, (3, 1), small)
    whole = np.abs(a.astype(object)) // np.abs(b.astype(object))
    expected = whole * np.sign(a.astype(object)) * np.sign(b.astype(object))
    check("Div", {"a": a, "b": b}, expected.astype(dtype))


def test_quotients_of_the_ends_of_int64(check: Any) -> None:
    ends = np.array([2**63 - 1, -(2**63), 2**62, -(2**62) - 1, 2**53 + 1, 0])
    for divisor in (1, 2, -3, 2**31 + 7, 2**62 + 1, -(2**63)):
        expected = [int(abs(int(n)) // abs(divisor)) for n in ends]
        signs = [(-1 if (n < 0) != (divisor < 0) else 1) for n in ends]
        wanted = np.array([q * s for q, s in zip(expected, signs, strict=True)])
        check("Div", {"a": ends, "b": np.array([divisor])}, wanted)


@pytest.mark.parametrize("fmod", [0, 1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_remainder(check: Any, rng: Any, dtype: Any, fmod: int) -> None:
    a, b = integers(rng, dtype, (2, 3, 40)), divisors(rng, dtype, (3, 1), False)
    expected = np.fmod(a, b) if fmod else np.mod(a, b)
    check("Mod", {"a": a, "b": b}, expected, fmod=fmod)


def test_remainder_of_floats(check: Any) -> None:
    a = np.array([5.5, -5.5, 0.5, -7, 3, -3, 0], np.float32).repeat(4)
    b = np.tile(np.array([2, -2, 0.3, np.inf], np.float32), 7)
    check("Mod", {"a": a, "b": b}, np.fmod(a, b), fmod=1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op_type", BITWISE)
def test_bits(check: Any, rng: Any, op_type: str, dtype: Any) -> None:
    a, b = integers(rng, dtype, (2, 3, 4)), integers(rng, dtype, (3, 1))
    check(op_type, {"a": a, "b": b}, BITWISE[op_type](a, b))


UNARY = {"Abs": np.abs, "Neg": np.negative, "Sign": np.sign, "BitwiseNot": np.invert}


@pytest.mark.parametrize(
    ("op_type", "dtype"),
    [(name, t) for name in UNARY for t in DTYPES if (name, t) != ("Neg", np.uint8)],
)
def test_functions_of_one_integer(check: Any, rng: Any, op_type: str, dtype: Any) -> None:
    x = integers(rng, dtype, (2, 3, 4, 5))
    check(op_type, {"x": x}, UNARY[op_type](x).astype(dtype))


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_shift(check: Any, rng: Any, dtype: Any, direction: str) -> None:
    """Shifts by a negative number, or by the width or more, leave copies of the sign."""
    width = np.iinfo(dtype).bits
    low = 0 if dtype == np.uint8 else -2
    shifts = rng.integers(low, width + 3, (3, 40)).astype(dtype)
    x = integers(rng, dtype, shifts.shape)
    wanted = [
        _shifted(int(n), int(s), width, direction) for n, s in zip(x.flat, shifts.flat, strict=True)
    ]
    expected = np.array(wanted, np.uint64 if width == 64 else np.int64).astype(dtype)
    opset = 21 if dtype == np.uint8 else 28
    check(
        "BitShift",
        {"x": x, "s": shifts},
        expected.reshape(x.shape),
        opset=opset,
        direction=direction,
    )


def _shifted(number: int, shift: int, width: int, direction: str) -> int:
    """The bits of the result as a number that is not negative."""
    if not 0 <= shift < width:
        number = -1 if number < 0 and direction == "RIGHT" else 0
    else:
        number = number << shift if direction == "LEFT" else number >> shift
    return number % 2**width


@pytest.mark.parametrize(
    ("source", "target"),
    [(np.float32, np.int32), (np.int32, np.float32), (np.int8, np.uint8), (np.bool_, np.uint8)],
)
def test_bit_cast(check: Any, rng: Any, source: Any, target: Any) -> None:
    from onnx import helper

    x = rng.integers(0, 2, (3, 4)).astype(source)
    to = helper.np_dtype_to_tensor_dtype(np.dtype(target))
    check("BitCast", {"x": x}, x.view(target), opset=26, to=to)


@pytest.mark.parametrize("bounds", [(-5, 9), (3, None), (None, 4), (9, -5), (None, None)])
@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
def test_clip(check: Any, rng: Any, dtype: Any, bounds: Any, computed: bool) -> None:
    x = integers(rng, dtype, (3, 40))
    expected = x
    limits = {}
    for bound, function in zip(bounds, (np.maximum, np.minimum), strict=True):
        limits["low" if function is np.maximum else "high"] = bound
        expected = expected if bound is None else function(expected, dtype(bound))
    known = {k: np.array(v, dtype) for k, v in limits.items() if v is not None}
    if list(known) == ["high"]:
        known = {"low": np.array(np.iinfo(dtype).min, dtype), **known}
    feeds = {"x": x, **known} if computed else {"x": x}
    check("Clip", feeds, expected, constants=None if computed else known)


@pytest.mark.parametrize(
    ("base", "exponent", "expected"),
    [
        (np.int32([-3, 2, 7]), np.int64(3), np.int32([-27, 8, 343])),
        (np.int64([-3, 2, 2**31]), np.float32(2), np.int64([9, 4, 2**62])),
        (np.int32([5, 2, 0]), np.float32([3, 2, 1]), np.int32([125, 4, 0])),
        (np.float32([2, 3, 0.5]), np.int64([3, -1, 2]), np.float32([8, 1 / 3, 0.25])),
    ],
)
def test_power_of_mixed_types(check: Any, base: Any, exponent: Any, expected: Any) -> None:
    check("Pow", {"a": base}, expected, constants={"b": exponent})


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 4), (4, 5)),
        ((2, 1, 3, 4), (5, 4, 2)),
        ((4,), (4,)),
        ((4,), (2, 4, 3)),
        ((2, 3, 4), (4,)),
    ],
)
def test_product_of_matrices(check: Any, rng: Any, dtype: Any, shapes: Any) -> None:
    a, b = (integers(rng, dtype, shape) for shape in shapes)
    with np.errstate(over="ignore"):
        expected = np.asarray(a @ b)
    check("MatMul", {"a": a, "b": b}, expected)
    check("MatMul", {"a": a}, expected, constants={"b": b})


def test_scaled_product_of_matrices(check: Any, rng: Any) -> None:
    a, b, c = (integers(rng, np.int32, shape) for shape in ((4, 3), (5, 4), (5,)))
    with np.errstate(over="ignore"):
        expected = np.int32(2) * (a.T @ b.T) + c
    check("Gemm", {"a": a, "b": b, "c": c}, expected, transA=1, transB=1, alpha=2.0)


@pytest.mark.parametrize("power_dtype", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_power_by_computed_integers(check: Any, dtype: Any, power_dtype: Any) -> None:
    a = np.array([2, -3, 7, 1, -1, 0, 5], dtype).reshape(7, 1)
    b = np.array([0, 1, 2, 5, 10, -1, -2], power_dtype)
    whole = np.power(a, np.maximum(b, 0).astype(dtype))
    odd = np.power(a, (b % 2).astype(dtype))
    expected = np.where(b >= 0, whole, np.where(np.abs(a) == 1, odd, 0)).astype(dtype)
    check("Pow", {"a": a, "b": b}, expected)


def test_the_integers_of_a_quantized_tensor_are_the_models_own(
    execute: Any, kit: Any, rng: Any
) -> None:
    """In the file they are int8, 128 below the model's uint8."""
    x = rng.standard_normal((3, 4), np.float32)
    nodes = [
        kit.node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        kit.node("Cast", ["q"], ["y"], to=6),
        kit.node("Add", ["q", "q"], ["twice"]),
        kit.node("DequantizeLinear", ["q", "s", "z"], ["r"]),
    ]
    constants = {"s": np.float32(0.02), "z": np.uint8(100)}
    outputs = {"y": np.int32, "twice": np.uint8, "r": np.float32}
    run = execute(kit.model(nodes, {"x": x}, outputs, constants), {"x": x}, "w8a8")
    for name in ("y", "twice"):
        assert np.array_equal(run.outputs[name], run.expected[name])
