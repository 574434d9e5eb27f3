"""Ranges and parameters against their formulas."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.calibration.parameters import affine_parameters, limits, representable
from edgewise.calibration.ranges import METHODS, Range, minmax, percentile, range_method
from edgewise.calibration.scheme import NumberFormat, QuantParams
from edgewise.calibration.statistics import TensorStatistics
from edgewise.errors import UsageError

values = arrays.arrays(np.float32, st.integers(1, 300), elements=st.floats(-1e4, 1e4, width=32))
ranges = st.builds(Range.around_zero, st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
formats = st.sampled_from(
    [
        NumberFormat("int8", False),
        NumberFormat("int8", True),
        NumberFormat("uint8", False),
        NumberFormat("uint8", True),
        NumberFormat("int8", False, narrow_range=True),
        NumberFormat("int16", True),
    ]
)


@given(values)
def test_minmax_is_exact_and_holds_zero(array):
    found = minmax(TensorStatistics.of(array))
    assert (found.low, found.high) == (min(array.min(), 0), max(array.max(), 0))


@given(values, st.floats(50, 100))
def test_percentile_is_numpys_to_within_a_bin(array, share):
    statistics = TensorStatistics.of(array)
    found = percentile(statistics, share)
    cut = (100.0 - share) / 2.0
    width = statistics.histogram.width
    # `lower` and `higher` bracket every definition of the quantile between two samples
    low = np.percentile(array, cut, method="lower"), np.percentile(array, cut, method="higher")
    high = (
        np.percentile(array, 100 - cut, method="lower"),
        np.percentile(array, 100 - cut, method="higher"),
    )
    assert min(low[0], 0) - width <= found.low <= min(low[1], 0) + width
    assert max(high[0], 0) - width <= found.high <= max(high[1], 0) + width


def test_percentile_of_many_normal_values_is_numpys():
    array = np.random.default_rng(0).normal(1, 2, 16_000).astype(np.float32)
    statistics = TensorStatistics.of(array)
    found = percentile(statistics, 99.0)
    wanted = np.percentile(array, [0.5, 99.5])
    assert np.allclose((found.low, found.high), wanted, atol=2 * statistics.histogram.width)


def test_percentile_cuts_an_outlier_and_never_leaves_the_extremes():
    array = np.concatenate([np.linspace(0, 1, 9999), [1000.0]]).astype(np.float32)
    statistics = TensorStatistics.of(array)
    assert percentile(statistics, 99.9).high < 2.0
    assert percentile(statistics, 100.0) == minmax(statistics)


def test_percentile_of_a_constant_is_the_constant():
    found = percentile(TensorStatistics.of(np.full(50, 3.0, np.float32)), 99.99)
    assert found == Range(0.0, 3.0)


def test_methods_are_found_by_name():
    assert {name: range_method(name) for name in METHODS} == dict(METHODS)
    with pytest.raises(UsageError, match="unknown calibration method"):
        range_method("median")


@given(ranges, formats)
def test_parameters_represent_the_range_to_within_half_a_step(real, number):
    found = affine_parameters(real, number)
    qmin, qmax = limits(number)
    assert qmin <= found.zero_point <= qmax
    assert found.scale == np.float32(found.scale) > 0
    whole = representable(found, number)
    slack = found.scale * 0.5001
    assert whole.low - slack <= real.low and real.high <= whole.high + slack


@given(ranges)
def test_parameters_are_those_of_onnxruntime(real):
    from onnxruntime.quantization.quant_utils import compute_scale_zp

    qmin, qmax = np.array(-128, np.int8), np.array(127, np.int8)
    zero, scale = compute_scale_zp(
        np.array(real.low, np.float64), np.array(real.high, np.float64), qmin, qmax
    )
    found = affine_parameters(real, NumberFormat("int8", False))
    if scale >= np.finfo(np.float32).tiny:
        assert (found.scale, found.zero_point) == (np.float32(scale), zero)


def test_a_relu_range_starts_at_the_smallest_integer():
    assert affine_parameters(Range(0, 6), NumberFormat("int8", False)) == QuantParams(
        float(np.float32(6 / 255)), -128
    )


def test_a_symmetric_range_uses_the_larger_side():
    assert affine_parameters(Range(-2, 1), NumberFormat("int8", True)).scale == np.float32(2 / 127)
    unsigned = affine_parameters(Range(-2, 1), NumberFormat("uint8", True))
    assert (unsigned.scale, unsigned.zero_point) == (np.float32(2 / 127), 128)


def test_an_empty_range_gets_scale_one():
    assert affine_parameters(Range(0, 0), NumberFormat("int8", False)) == QuantParams(1.0, 0)
