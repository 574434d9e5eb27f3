"""Matrix products against numpy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import ct


def _array(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
def test_linear(run_mil: Any, shape: tuple[int, ...]) -> None:
    x, weight, bias = _array(0, *shape), _array(1, 5, 4), _array(2, 5)

    def build(x: Any) -> list[Any]:
        return [mb.linear(x=x, weight=weight, bias=bias), mb.linear(x=x, weight=weight)]

    with_bias, without = run_mil(build, {"x": x})
    expected = x.astype(np.float64) @ weight.T
    np.testing.assert_allclose(with_bias, expected + bias, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(without, expected, rtol=1e-5, atol=1e-6)


def test_integers_stay_exact(apply_kernel: Any) -> None:
    x = np.array([[2**24 + 1, 1]], np.int32)  # beyond float32's whole numbers
    weight, bias = np.array([[1, 1]], np.int32), np.array([1], np.int32)
    assert apply_kernel("linear", x=x, weight=weight, bias=bias).tolist() == [[2**24 + 3]]


@pytest.mark.parametrize("transpose_x", [False, True])
@pytest.mark.parametrize("transpose_y", [False, True])
def test_matmul(run_mil: Any, transpose_x: bool, transpose_y: bool) -> None:
    x = _array(3, 2, 1, *((4, 3) if transpose_x else (3, 4)))
    y = _array(4, 5, *((6, 4) if transpose_y else (4, 6)))
    (result,) = run_mil(
        lambda x, y: mb.matmul(x=x, y=y, transpose_x=transpose_x, transpose_y=transpose_y),
        {"x": x, "y": y},
    )
    left = np.swapaxes(x, -1, -2) if transpose_x else x
    right = np.swapaxes(y, -1, -2) if transpose_y else y
    np.testing.assert_allclose(result, left.astype(np.float64) @ right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2])
def test_einsum(run_mil: Any, batch: int) -> None:
    x, y = _array(5, 2, 3, 4, 5), _array(6, batch, 5, 4, 7)
    (result,) = run_mil(
        lambda x, y: mb.einsum(values=(x, y), equation="nchw,nwhu->nchu"), {"x": x, "y": y}
    )
    full = np.broadcast_to(y, (2, *y.shape[1:])).astype(np.float64)
    expected = np.einsum("nchw,nwhu->nchu", x, full)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["none", "boolean", "float"])
def test_attention(run_mil: Any, kind: str) -> None:
    query, key, value = _array(7, 2, 3, 4), _array(8, 2, 5, 4), _array(9, 2, 5, 6)
    allowed = np.random.default_rng(10).random((3, 5)) > 0.3
    allowed[:, 0] = True
    added = _array(11, 3, 5)
    mask = {"none": {}, "boolean": {"attn_mask": allowed}, "float": {"attn_mask": added}}[kind]
    (result,) = run_mil(
        lambda q, k, v: mb.scaled_dot_product_attention(query=q, key=k, value=v, **mask),
        {"q": query, "k": key, "v": value},
        target=ct.target.iOS18,
    )
    scores = query.astype(np.float64) @ np.swapaxes(key, 1, 2) / 2
    scores = scores + {"none": 0, "boolean": np.where(allowed, 0, -np.inf), "float": added}[kind]
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(result, weights @ value, rtol=1e-5, atol=1e-6)
