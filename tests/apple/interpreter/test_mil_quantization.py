"""Quantization is exact: ties, saturation, axes, and every kind of compressed weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import ct, quiet, types


def test_ties_go_to_even_and_values_saturate(run_mil: Any) -> None:
    x = np.array([0.25, 0.75, 1.25, -0.25, -0.75, 1e6, -1e6, 0.0], np.float32)

    def build(x: Any) -> list[Any]:
        signed = mb.quantize(
            input=x, scale=np.float32(0.5), zero_point=np.int8(-3), output_dtype="int8"
        )
        unsigned = mb.quantize(
            input=x, scale=np.float32(0.5), zero_point=np.uint8(128), output_dtype="uint8"
        )
        symmetric = mb.quantize(input=x, scale=np.float32(0.5), output_dtype="int8")
        return [mb.cast(x=q, dtype="int32") for q in (signed, unsigned, symmetric)]

    signed, unsigned, symmetric = run_mil(build, {"x": x})
    rounded = np.array([0, 2, 2, 0, -2, 10**7, -(10**7), 0])
    assert signed.tolist() == np.clip(rounded - 3, -128, 127).tolist()
    assert unsigned.tolist() == np.clip(rounded + 128, 0, 255).tolist()
    assert symmetric.tolist() == np.clip(rounded, -128, 127).tolist()


@settings(deadline=None, max_examples=50)
@given(
    hnp.arrays(np.float32, st.integers(1, 300), elements=st.floats(-1e4, 1e4, width=32)),
    st.floats(np.float32(2**-10), 100, width=32),
    st.integers(-128, 127),
)
def test_quantize_then_dequantize(apply_kernel: Any, x: Any, scale: float, zero: int) -> None:
    step, offset = np.float32(scale), np.int8(zero)
    q = apply_kernel("quantize", input=x, scale=step, zero_point=offset, output_dtype="int8")
    expected = np.clip(np.rint(x / step) + np.float32(zero), -128, 127).astype(np.int8)
    assert q.dtype == np.int8
    assert np.array_equal(q, expected)
    real = apply_kernel("dequantize", input=q, scale=step, zero_point=offset)
    assert np.array_equal(real, (q.astype(np.float32) - np.float32(zero)) * step)


def test_blocks_join_without_a_seam(apply_kernel: Any) -> None:
    """Longer than a block, and no multiple of one."""
    x = np.random.default_rng(0).normal(size=(3, 65_536 + 17)).astype(np.float32)
    scale = np.float32(0.02)
    q = apply_kernel("quantize", input=x, scale=scale, output_dtype="uint8")
    assert np.array_equal(q, np.clip(np.rint(x / scale), 0, 255).astype(np.uint8))
    real = apply_kernel("dequantize", input=q, scale=scale)
    assert np.array_equal(real, q.astype(np.float32) * scale)


@pytest.mark.parametrize("axis", [1, -2])
def test_per_channel(run_mil: Any, axis: int) -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32)
    scale = np.array([0.1, 0.01, 1.0], np.float32)
    zero = np.array([0, 5, -5], np.int8)

    def build(x: Any) -> Any:
        q = mb.quantize(input=x, scale=scale, zero_point=zero, axis=axis, output_dtype="int8")
        return mb.dequantize(input=q, scale=scale, zero_point=zero, axis=axis)

    (result,) = run_mil(build, {"x": x})
    s, z = scale.reshape(1, 3, 1), zero.astype(np.float32).reshape(1, 3, 1)
    expected = (np.clip(np.rint(x / s) + z, -128, 127) - z) * s
    assert np.array_equal(result, expected)


def test_fp16_scales_are_fp16_numbers(run_mil: Any) -> None:
    x = np.random.default_rng(2).normal(size=(64,)).astype(np.float16)
    scale = np.float16(0.0123)

    def build(x: Any) -> Any:
        return mb.dequantize(
            input=mb.quantize(input=x, scale=scale, output_dtype="int8"), scale=scale
        )

    (result,) = run_mil(build, {"x": x})
    q = np.clip(np.rint(x.astype(np.float32) / np.float32(scale)), -128, 127)
    assert np.array_equal(result, (q * np.float32(scale)).astype(np.float16))


def test_affine_weights(run_mil: Any) -> None:
    rng = np.random.default_rng(3)
    q = rng.integers(-128, 128, (4, 3), dtype=np.int8)
    scale = rng.uniform(0.001, 0.1, 4).astype(np.float32)
    zero = rng.integers(-9, 9, 4).astype(np.int8)
    x = np.eye(3, dtype=np.float32)

    def build(x: Any) -> Any:
        weight = mb.constexpr_affine_dequantize(
            quantized_data=q, zero_point=zero, scale=scale, axis=np.int32(0)
        )
        return mb.linear(x=x, weight=weight)

    (result,) = run_mil(build, {"x": x})
    expected = (q.astype(np.float32) - zero[:, None]) * scale[:, None]
    np.testing.assert_allclose(result, expected.T, rtol=1e-6)


def test_blockwise_int4_weights(run_mil: Any) -> None:
    rng = np.random.default_rng(4)
    q = rng.integers(-8, 8, (2, 8)).astype(np.int8)
    scale = rng.uniform(0.01, 0.1, (2, 2)).astype(np.float32)
    x = np.eye(8, dtype=np.float32)

    def build(x: Any) -> Any:
        with quiet():
            data = q.astype(types.nptype_from_builtin(types.int4))
        weight = mb.constexpr_blockwise_shift_scale(data=data, scale=scale)
        return mb.linear(x=x, weight=weight)

    (result,) = run_mil(build, {"x": x}, target=ct.target.iOS18)
    expected = q.astype(np.float32) * np.repeat(scale, 4, axis=1)
    np.testing.assert_allclose(result, expected.T, rtol=1e-6)


def test_palettes(run_mil: Any) -> None:
    rng = np.random.default_rng(5)
    indices = rng.integers(0, 4, (4, 6)).astype(np.uint8)
    palette = rng.normal(size=4).astype(np.float32)
    x = np.eye(6, dtype=np.float32)
    packed = np.packbits(
        ((indices.reshape(-1, 1) >> np.arange(2)) & 1).astype(np.uint8).reshape(-1),
        bitorder="little",
    )

    def build(x: Any) -> Any:
        weight = mb.constexpr_lut_to_dense(
            indices=packed, lut=palette, shape=np.array(indices.shape, np.uint32)
        )
        return mb.linear(x=x, weight=weight)

    (result,) = run_mil(build, {"x": x}, target=ct.target.iOS16)
    assert np.array_equal(result, palette[indices].T)


def test_sparse_weights(run_mil: Any) -> None:
    dense = np.array([[0, 2, 0, 0, 1], [3, 0, 0, 4, 0]], np.float32)
    x = np.eye(5, dtype=np.float32)

    def build(x: Any) -> Any:
        weight = mb.constexpr_sparse_to_dense(
            nonzero_data=dense[dense != 0],
            mask=np.packbits((dense != 0).reshape(-1), bitorder="little"),
            shape=np.array(dense.shape, np.uint32),
        )
        return mb.linear(x=x, weight=weight)

    (result,) = run_mil(build, {"x": x}, target=ct.target.iOS16)
    assert np.array_equal(result, dense.T)
