"""Reductions, sorting and running sums against numpy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewise.targets.apple._coremltools import Builder as mb

_REDUCTIONS = {
    "reduce_l1_norm": lambda x, **k: np.abs(x).sum(**k),
    "reduce_l2_norm": lambda x, **k: np.sqrt(np.square(x).sum(**k)),
    "reduce_log_sum": lambda x, **k: np.log(x.sum(**k)),
    "reduce_log_sum_exp": lambda x, **k: np.log(np.exp(x).sum(**k)),
    "reduce_max": np.max,
    "reduce_mean": np.mean,
    "reduce_min": np.min,
    "reduce_prod": np.prod,
    "reduce_sum": np.sum,
    "reduce_sum_square": lambda x, **k: np.square(x).sum(**k),
}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("axes", [None, [1], [-1, 0]])
def test_reductions(run_mil: Any, axes: list[int] | None, keep: bool) -> None:
    x = np.random.default_rng(0).uniform(0.5, 2, (2, 3, 4)).astype(np.float32)
    given = {} if axes is None else {"axes": axes}

    def build(x: Any) -> list[Any]:
        return [getattr(mb, name)(x=x, keep_dims=keep, **given) for name in _REDUCTIONS]

    axis = None if axes is None else tuple(axes)
    for name, result in zip(_REDUCTIONS, run_mil(build, {"x": x}), strict=True):
        expected = _REDUCTIONS[name](x.astype(np.float64), axis=axis, keepdims=keep)
        np.testing.assert_allclose(result, expected, rtol=2e-6, err_msg=name)


def test_log_sum_exp_does_not_overflow(apply_kernel: Any) -> None:
    x = np.array([[1000.0, 1000.0]], np.float32)
    result = apply_kernel("reduce_log_sum_exp", x=x, axes=np.array([1]))
    np.testing.assert_allclose(result, [1000 + np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("keep", [False, True])
def test_positions_of_extremes(run_mil: Any, keep: bool) -> None:
    x = np.array([[3, 7, 7, 1], [5, 5, 0, 0]], np.float32)

    def build(x: Any) -> list[Any]:
        return [
            mb.reduce_argmax(x=x, axis=1, keep_dims=keep),
            mb.reduce_argmin(x=x, axis=0, keep_dims=keep),
        ]

    largest, smallest = run_mil(build, {"x": x})
    assert np.array_equal(largest, np.argmax(x, axis=1, keepdims=keep))
    assert np.array_equal(smallest, np.argmin(x, axis=0, keepdims=keep))
    assert largest.dtype == np.int32


def test_topk_of_a_saved_program(run_mil: Any) -> None:
    x = np.array([[3, 7, 7, 1], [5, 5, 0, 9]], np.float32)

    def build(x: Any) -> list[Any]:
        return [*mb.topk(x=x, k=3, axis=1), *mb.topk(x=x, k=2, axis=1, ascending=True)]

    values, indices, low_values, low_indices = run_mil(build, {"x": x})
    assert values.tolist() == [[7, 7, 3], [9, 5, 5]]
    assert indices.tolist() == [[1, 2, 0], [3, 0, 1]]  # of equal values the first comes first
    assert low_values.tolist() == [[1, 3], [0, 5]]
    assert low_indices.tolist() == [[3, 0], [2, 0]]


def test_sorting(apply_kernel: Any) -> None:
    x = np.array([[2, 0, 2, 255]], np.uint8)
    assert apply_kernel("argsort", x=x).tolist() == [[3, 0, 2, 1]]
    assert apply_kernel("argsort", x=x, ascending=True).tolist() == [[1, 0, 2, 3]]
    (values,) = apply_kernel("topk", x=x, k=-1, return_indices=False)
    assert values.tolist() == [[255, 2, 2, 0]]


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("exclusive", [False, True])
def test_running_sums(apply_kernel: Any, dtype: Any, reverse: bool, exclusive: bool) -> None:
    x = np.array([[1, 2, 3], [4, 5, 6]], dtype)
    rows = x[:, ::-1] if reverse else x
    sums = np.cumsum(rows, axis=1) - (rows if exclusive else 0)
    result = apply_kernel("cumsum", x=x, axis=1, reverse=reverse, exclusive=exclusive)
    assert np.array_equal(result, sums[:, ::-1] if reverse else sums)
    assert result.dtype == dtype
