"""Arithmetic and comparison of integers against numpy, which wraps as ONNX does, through the saved
package; computing in fp16 must not change a single one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper

from edgewise.errors import UnsupportedOperator
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET

Array = npt.NDArray[Any]
Check = Callable[..., None]
NARROW = [np.int8, np.uint8, np.int16, np.uint16]
DTYPES = [*NARROW, np.int32]
RING = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Max": np.maximum, "Min": np.minimum}
COMPARISONS = {
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
}


@pytest.fixture
def check(make: Any, tmp_path: Path) -> Check:
    """Several nodes in one model, each with the result that is expected of it."""

    def run(
        expected: Mapping[str, tuple[str, list[str], Mapping[str, Any], Array]],
        feeds: Mapping[str, Array],
        constants: Mapping[str, Array] | None = None,
        *,
        compute: str = "fp32",
    ) -> None:
        nodes = [
            helper.make_node(op_type, inputs, [name], name=name, **attributes)
            for name, (op_type, inputs, attributes, _) in expected.items()
        ]
        model = make.build_model(nodes, feeds, list(expected), constants)
        artifact = TARGET.emit(model, tmp_path / "out", compute, options=EmitOptions())
        results = TARGET.open(artifact.path).run(feeds)
        for name, (_, _, _, wanted) in expected.items():
            assert results[name].dtype == wanted.dtype, name
            np.testing.assert_array_equal(results[name], wanted, err_msg=name)

    return run


def integers(seed: int, dtype: Any, shape: tuple[int, ...]) -> Array:
    """Over the whole range of the type, its ends among them."""
    limits = np.iinfo(dtype)
    made = np.random.default_rng(seed).integers(limits.min, limits.max, shape, dtype, endpoint=True)
    made.reshape(-1)[:2] = limits.min, limits.max
    return np.asarray(made)


def divisors(seed: int, dtype: Any, shape: tuple[int, ...]) -> Array:
    """Neither 0 nor, of int32, -1, by which the smallest number has no quotient."""
    found = integers(seed, dtype, shape)
    found.reshape(-1)[2:4] = 3, 1
    return np.where(np.isin(found.astype(object), (0, -1)), 5, found).astype(dtype)


@pytest.mark.parametrize("compute", ["fp32", "fp16"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic_wraps(check: Check, dtype: Any, compute: str) -> None:
    a, b = integers(1, dtype, (2, 3, 4)), integers(2, dtype, (3, 1))
    with np.errstate(over="ignore"):
        expected = {n: (n, ["a", "b"], {}, f(a, b)) for n, f in (RING | COMPARISONS).items()}
        expected["Constant"] = ("Mul", ["a", "c"], {}, a * b)
        if np.iinfo(dtype).min:
            expected["Neg"] = ("Neg", ["a"], {}, -a)
            expected["Sign"] = ("Sign", ["a"], {}, np.sign(a))
        expected["Abs"] = ("Abs", ["a"], {}, np.abs(a))
    check(expected, {"a": a, "b": b}, {"c": b}, compute=compute)


@pytest.mark.parametrize("compute", ["fp32", "fp16"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_division_rounds_towards_zero_and_remainders_have_two_signs(
    check: Check, dtype: Any, compute: str
) -> None:
    a, b = integers(3, dtype, (4, 5)), divisors(4, dtype, (5,))
    quotient = np.trunc(a.astype(np.float64) / b.astype(np.float64)).astype(dtype)
    expected = {
        "Div": ("Div", ["a", "b"], {}, quotient),
        "Constant": ("Div", ["a", "c"], {}, quotient),
        "Mod": ("Mod", ["a", "b"], {}, np.mod(a, b)),
        "Remainder": ("Mod", ["a", "b"], {"fmod": 1}, np.fmod(a, b)),
    }
    check(expected, {"a": a, "b": b}, {"c": b}, compute=compute)


def test_remainders_of_floats(node_matches_ort: Any) -> None:
    x = np.array([7.5, -7.5, 7.5, -7.5, 0.0, 6.0], np.float32)
    y = np.array([2.0, 2.0, -2.0, -2.0, 3.0, -3.0], np.float32)
    node_matches_ort("Mod", [x, y], {"fmod": 1})


@pytest.mark.parametrize("exponent", [0, 1, 2, 5, 31])
def test_powers_of_integers_wrap(check: Check, exponent: int) -> None:
    a = integers(5, np.int32, (3, 4))
    with np.errstate(over="ignore"):
        wanted = a ** np.int32(exponent)
    constants = {"i": np.array(exponent, np.int64), "f": np.array([exponent], np.float32)}
    expected = {n: ("Pow", ["a", n], {}, wanted) for n in constants}
    check({f"y_{n}": e for n, e in expected.items()}, {"a": a}, constants)


def test_computed_exponents(check: Check) -> None:
    a = np.array([0, 1, -1, 1, -1, -1, 2, 3, -3, -5, 2, -2, 7, 0], np.int32)
    n = np.array([0, -3, -3, -2, -4, 101, 30, 4, 19, 3, -1, 31, 11, 5], np.int32)
    wanted = [1, 1, -1, 1, 1, -1, 2**30, 81, -(3**19), -125, 0, -(2**31), 7**11, 0]
    exact = np.array(wanted).astype(np.int32)
    feeds = {"a": a, "n": n, "f": n.astype(np.float32)}
    check({"y": ("Pow", ["a", "n"], {}, exact), "z": ("Pow", ["a", "f"], {}, exact)}, feeds)


def test_roots_of_integers_are_cut_off(check: Check) -> None:
    a, half = np.array([5, 30, 200], np.int32), np.array([0.5, 0.5, 1.5], np.float32)
    wanted = np.array([2, 5, 2828], np.int32)
    check({"y": ("Pow", ["a", "f"], {}, wanted)}, {"a": a, "f": half})


@pytest.mark.parametrize("exponent", [-3, -1, 0, 1, 3, 8, 9])
def test_negative_bases_of_whole_exponents(node_matches_ort: Any, exponent: int) -> None:
    x = np.array([-2.5, -1.0, 0.5, 3.0], np.float32)
    node_matches_ort("Pow", [x, np.array(exponent, np.float32)], atol=1e-3)


@pytest.mark.parametrize("dtype", NARROW)
def test_casts_between_integers_wrap(check: Check, dtype: Any) -> None:
    a = integers(6, np.int32, (40,))
    code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    f = np.array([0.9, 3.7, 100.2, 0.0], np.float32)
    expected = {
        "y": ("Cast", ["a"], {"to": code}, a.astype(dtype)),
        "z": ("Cast", ["f"], {"to": code}, f.astype(dtype)),
        "b": ("Cast", ["f"], {"to": TensorProto.BOOL}, f != 0),
    }
    check(expected, {"a": a, "f": f}, compute="fp16")


def test_large_integers_keep_their_last_digit_in_fp16(check: Check) -> None:
    """2049 is no fp16 number."""
    a = np.array([[2049, 4097, 65535, 16777217]], np.int32)
    axes = np.array([1], np.int64)
    expected = {
        "sum": ("ReduceSum", ["a", "axes"], {}, a.sum(axis=1, keepdims=True, dtype=np.int32)),
        "mean": ("ReduceMean", ["a"], {}, np.array([[a.sum() // 4]], np.int32)),
        "most": ("ReduceMax", ["a", "axes"], {"keepdims": 0}, a.max(axis=1)),
        "where": ("Where", ["c", "a", "b"], {}, np.where([[True, False] * 2], a, a + 1)),
        "clip": ("Clip", ["a", "low", "high"], {}, np.clip(a, 4099, 65533)),
    }
    constants = {
        "axes": axes,
        "b": a + 1,
        "c": np.array([[True, False] * 2]),
        "low": np.array(4099, np.int32),
        "high": np.array(65533, np.int32),
    }
    check(expected, {"a": a}, constants, compute="fp16")


def test_means_are_cut_off_towards_zero(check: Check) -> None:
    a = np.array([[-7, 2, -2], [7, 2, 1]], np.int32)
    wanted = np.array([-2, 3], np.int32)
    axes = np.array([1], np.int64)
    check({"y": ("ReduceMean", ["a", "axes"], {"keepdims": 0}, wanted)}, {"a": a}, {"axes": axes})


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.bool_])
def test_extremes_of_small_types(check: Check, dtype: Any) -> None:
    a = (
        np.array([[0, 1, 0], [0, 0, 0]]).astype(dtype)
        if dtype is np.bool_
        else integers(7, dtype, (2, 3))
    )
    axes = np.array([1], np.int64)
    expected = {
        "most": ("ReduceMax", ["a", "axes"], {"keepdims": 0}, a.max(axis=1)),
        "least": ("ReduceMin", ["a", "axes"], {}, a.min(axis=1, keepdims=True)),
    }
    check(expected, {"a": a}, {"axes": axes})


def test_booleans_are_compared_and_chosen(check: Check) -> None:
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    expected = {
        "equal": ("Equal", ["a", "b"], {}, a == b),
        "chosen": ("Where", ["a", "b", "n"], {}, np.where(a, b, ~b)),
        "number": ("Cast", ["a"], {"to": TensorProto.UINT8}, a.astype(np.uint8)),
    }
    check(expected, {"a": a, "b": b}, {"n": ~b})


def test_what_no_int32_holds_is_refused(make: Any, tmp_path: Path) -> None:
    x = np.ones((2, 3), np.float32)
    nodes = [
        helper.make_node("Cast", ["x"], ["u"], name="node", to=TensorProto.UINT32),
        helper.make_node("Cast", ["u"], ["y"], to=TensorProto.FLOAT),
    ]
    with pytest.raises(UnsupportedOperator, match="does not compute with uint32"):
        TARGET.emit(make.build_model(nodes, {"x": x}, ["y"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("op_type", ["ReduceL2", "ReduceLogSum", "ReduceLogSumExp"])
def test_roots_and_logarithms_of_integers_are_refused(
    make: Any, tmp_path: Path, op_type: str
) -> None:
    node = make.node(op_type, [np.ones((2, 3), np.int32)], {})
    with pytest.raises(UnsupportedOperator, match="of integers"):
        TARGET.emit(node.model(), tmp_path / "out")


@st.composite
def broadcast_pair(draw: Any, dtype: Any) -> tuple[Array, Array]:
    shapes = draw(
        hnp.mutually_broadcastable_shapes(num_shapes=2, min_dims=1, max_dims=5, max_side=3)
    )
    a, b = (draw(hnp.arrays(dtype, shape)) for shape in shapes.input_shapes)
    return a, b


@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_arithmetic_of_any_numbers_and_shapes(check: Check, data: Any) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    a, b = data.draw(broadcast_pair(dtype))
    with np.errstate(over="ignore"):
        check(
            {n: (n, ["a", "b"], {}, np.asarray(f(a, b))) for n, f in RING.items()}, {"a": a, "b": b}
        )
