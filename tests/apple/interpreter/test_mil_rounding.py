"""fp16 results are rounded once, exactly as numpy rounds, and everything else is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple.interpreter.numbers import round_to_half


def _by_numpy(values: Any) -> Any:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


def test_every_fp16_number_and_every_midpoint() -> None:
    finite = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = (finite[:-1] + finite[1:]) / 2
    edges = np.array([65504, 65519.99, 65520, 1e30, np.inf, 2.0**-25, 2.0**-24], np.float32)
    positive = np.concatenate([finite, between, np.nextafter(between, np.float32(1e9)), edges])
    values = np.concatenate([positive, -positive])
    result = round_to_half(values)
    assert np.array_equal(result, _by_numpy(values))
    assert np.array_equal(np.signbit(result), np.signbit(values))


def test_random_bit_patterns() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 1_000_000, dtype=np.uint64)
    values = bits.astype(np.uint32).view(np.float32)
    assert np.array_equal(round_to_half(values), _by_numpy(values), equal_nan=True)


@settings(deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=9))
def test_small_and_large_arrays_agree(numbers: list[float]) -> None:
    values = np.array(numbers, np.float32)
    many = np.resize(values, 5000)  # large enough for the other implementation
    assert np.array_equal(round_to_half(many)[: values.size], round_to_half(values))


def test_each_declared_result_is_rounded_once(run_mil: Any) -> None:
    rng = np.random.default_rng(1)
    x, y = (rng.normal(size=(3, 2000)).astype(np.float16) for _ in range(2))

    def build(x: Any, y: Any) -> list[Any]:
        product = mb.mul(x=x, y=y)
        return [product, mb.add(x=product, y=x), mb.reduce_sum(x=product, axes=[1])]

    product, total, row_sum = run_mil(build, {"x": x, "y": y})
    assert np.array_equal(product, x * y)
    assert np.array_equal(total, x * y + x)  # one correctly rounded operation after the other
    wide = (x * y).astype(np.float32).sum(axis=1)  # accumulated in float32, rounded at the end
    assert np.array_equal(row_sum, wide.astype(np.float16))
    assert {product.dtype, total.dtype, row_sum.dtype} == {np.dtype(np.float16)}


def test_overflow_is_infinity(run_mil: Any) -> None:
    x = np.array([60000.0, -60000.0], np.float16)
    (result,) = run_mil(lambda x: mb.add(x=x, y=x), {"x": x})
    assert result.tolist() == [np.inf, -np.inf]


def test_fp32_is_not_rounded(run_mil: Any) -> None:
    x = np.array([1 / 3, 1e-9], np.float32)
    (result,) = run_mil(lambda x: mb.add(x=x, y=np.float32(1e-9)), {"x": x})
    assert np.array_equal(result, x + np.float32(1e-9))


def test_a_cast_to_fp16_rounds_and_back_does_not(run_mil: Any) -> None:
    x = np.array([1 / 3, 2.0**-26, 70000.0], np.float32)
    (result,) = run_mil(lambda x: mb.cast(x=mb.cast(x=x, dtype="fp16"), dtype="fp32"), {"x": x})
    assert result.dtype == np.float32
    assert np.array_equal(result, _by_numpy(x))


def test_an_fp16_input_is_rounded_on_entry(save_mil: Any) -> None:
    from edgewise.targets.apple.interpreter import Interpreter

    x = np.array([1 / 3], np.float32)
    path = save_mil(lambda x: mb.identity(x=x), {"x": x.astype(np.float16)})
    (result,) = Interpreter(path).run({"x": x}).values()
    assert result.tolist() == x.astype(np.float16).tolist()


@pytest.mark.parametrize("op", ["transpose", "max_pool", "relu"])
def test_values_that_only_move_are_rounded_already(run_mil: Any, op: str) -> None:
    x = np.random.default_rng(2).normal(size=(1, 2, 4, 4)).astype(np.float16)
    make = {
        "transpose": lambda x: mb.transpose(x=x, perm=[0, 2, 3, 1]),
        "max_pool": lambda x: mb.max_pool(x=x, kernel_sizes=[2, 2], pad_type="valid"),
        "relu": lambda x: mb.relu(x=x),
    }[op]
    (result,) = run_mil(make, {"x": x})
    assert np.isin(result, np.append(x, np.float16(0))).all()


def test_without_rounding_everything_is_float32(run_mil: Any) -> None:
    x = np.array([1.0], np.float16)

    def build(x: Any) -> Any:
        return mb.real_div(x=x, y=np.float16(3))

    (exact,) = run_mil(build, {"x": x}, rounding="none")
    (rounded,) = run_mil(build, {"x": x})
    assert exact.dtype == np.float32
    assert exact[0] == np.float32(1) / np.float32(3)
    assert rounded[0] == np.float16(1 / 3)
