"""What a limit keeps, and what a model asks for."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.data import InputSpec, fit_feeds, input_specs
from edgewise.data.selection import spread
from edgewise.errors import DataError, ModelError, UsageError


@given(st.integers(0, 200), st.none() | st.integers(1, 250))
def test_spread_is_ascending_unique_and_of_the_right_size(count, limit):
    chosen = spread(count, limit)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == (count if limit is None else min(count, limit))
    assert all(0 <= index < count for index in chosen)


@given(st.integers(1, 10), st.integers(1, 12), st.booleans())
def test_spread_covers_balanced_classes_in_any_order(classes, per_class, cyclic):
    labels = list(range(classes)) * per_class
    if not cyclic:
        labels.sort()
    chosen = spread(len(labels), classes, labels)
    assert sorted(labels[i] for i in chosen) == list(range(classes))


def test_spread_refuses_nothing():
    with pytest.raises(UsageError, match="at least 1"):
        spread(5, 0)


def test_input_specs_skip_initializers_and_keep_symbols():
    model = ir.from_onnx_text(
        """<ir_version: 10, opset_import: ["": 21]>
        g (float[batch, 3] x, int64[2] ids, float[3] w) => (float[batch, 3] y)
        <float[3] w = {1.0, 2.0, 3.0}> { y = Mul(x, w) }"""
    )
    assert input_specs(model) == [
        InputSpec("x", ("batch", 3), np.dtype(np.float32)),
        InputSpec("ids", (2,), np.dtype(np.int64)),
    ]


def test_input_of_unknown_rank():
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["": 21]> g (float[1] x) => (float[1] y) { y = Relu(x) }'
    )
    model.graph.inputs[0].shape = None
    with pytest.raises(ModelError, match=r"input 'x'.*input_shapes"):
        input_specs(model)


@given(st.sampled_from([np.int8, np.uint8, np.int32, np.float16, np.float64, np.bool_]))
def test_casts_keep_values(dtype):
    array = np.array([[0, 1, 100]]).astype(dtype)
    spec = InputSpec("x", (1, 3), np.dtype(np.float32))
    found = fit_feeds({"x": array}, [spec], "here")["x"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, array.astype(np.float32))


def test_integer_overflow_is_refused():
    spec = InputSpec("x", (1, 2), np.dtype(np.int8))
    with pytest.raises(DataError, match="expected int8, found int64"):
        fit_feeds({"x": np.array([[1, 300]])}, [spec], "here")
    assert fit_feeds({"x": np.array([[1, -3]])}, [spec], "here")["x"].dtype == np.int8
