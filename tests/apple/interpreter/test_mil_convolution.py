"""Convolutions against plain loops, ONNX Runtime and their own adjoint."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgewise.graph import OrtSession
from edgewise.targets.apple._coremltools import Builder as mb

Array = npt.NDArray[Any]


def _loops(x: Array, w: Array, strides: Any, pads: Any, dilations: Any, groups: int) -> Array:
    """Convolution written down as its definition; pads are (begin, end) per axis."""
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *pads])
    window = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
    sizes = [(n - k) // s + 1 for n, k, s in zip(x.shape[2:], window, strides, strict=True)]
    out = np.zeros((x.shape[0], w.shape[0], *sizes))
    per_group = w.shape[0] // groups
    for channel, position in itertools.product(range(w.shape[0]), np.ndindex(*sizes)):
        group = channel // per_group
        patch = x[
            (
                slice(None),
                slice(group * w.shape[1], (group + 1) * w.shape[1]),
                *(
                    slice(p * s, p * s + k, d)
                    for p, s, k, d in zip(position, strides, window, dilations, strict=True)
                ),
            )
        ]
        axes = tuple(range(1, patch.ndim))
        out[(slice(None), channel, *position)] = (patch * w[channel]).sum(axis=axes)
    return out


@st.composite
def _geometry(draw: st.DrawFn) -> dict[str, Any]:
    rank = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 2]))

    def ints(low: int, high: int) -> list[int]:
        return [draw(st.integers(low, high)) for _ in range(rank)]

    kernel, dilations, spare = ints(1, 3), ints(1, 2), ints(0, 4)
    axes = zip(kernel, dilations, spare, strict=True)
    spatial = [(size - 1) * dilation + 1 + more for size, dilation, more in axes]
    return {
        "x": (draw(st.integers(1, 2)), 2 * groups, *spatial),
        "w": (groups * draw(st.integers(1, 2)), 2, *kernel),
        "strides": ints(1, 3),
        "dilations": dilations,
        "pad": [draw(st.integers(0, 2)) for _ in range(2 * rank)],
        "groups": groups,
    }


@settings(deadline=None, max_examples=60)
@given(_geometry(), st.integers(0, 9))
def test_convolution_geometry(apply_kernel: Any, geometry: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, w = (rng.normal(size=geometry[name]).astype(np.float32) for name in ("x", "w"))
    rest = {name: geometry[name] for name in ("strides", "dilations", "groups")}
    pad = np.array(geometry["pad"])
    result = apply_kernel(
        "conv",
        x=x,
        weight=w,
        pad_type="custom",
        pad=pad,
        **{k: np.array(v) for k, v in rest.items()},
    )
    expected = _loops(x, w, pads=pad.reshape(-1, 2).tolist(), **rest)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pad_type", ["valid", "same", "same_lower"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_padding_types(apply_kernel: Any, pad_type: str, stride: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 2, 7, 8)).astype(np.float32)
    w = rng.normal(size=(3, 2, 3, 4)).astype(np.float32)
    pads = []
    for size, kernel in zip(x.shape[2:], w.shape[2:], strict=True):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        small, large = total // 2, total - total // 2
        pads.append(
            {"valid": (0, 0), "same": (small, large), "same_lower": (large, small)}[pad_type]
        )
    result = apply_kernel(
        "conv", x=x, weight=w, pad_type=pad_type, strides=np.array([stride, stride])
    )
    expected = _loops(x, w, [stride, stride], pads, [1, 1], 1)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(_geometry(), st.integers(0, 9))
def test_transposed_convolution_is_the_adjoint(
    apply_kernel: Any, geometry: dict[str, Any], seed: int
) -> None:
    """<conv(x, w), y> = <x, conv_transpose(y, w)> for all x and y, when the size of x is asked."""
    rng = np.random.default_rng(seed)
    x, w = (rng.normal(size=geometry[name]).astype(np.float32) for name in ("x", "w"))
    rest = {name: geometry[name] for name in ("strides", "dilations", "groups")}
    pad = np.array(geometry["pad"])
    forward = _loops(x, w, pads=pad.reshape(-1, 2).tolist(), **rest)
    y = rng.normal(size=forward.shape).astype(np.float32)
    back = apply_kernel(
        "conv_transpose",
        x=y,
        weight=w,
        pad_type="custom",
        pad=pad,
        output_shape=np.array(x.shape),
        **{name: np.array(value) for name, value in rest.items()},
    )
    assert back.shape == x.shape
    left, right = (forward * y).sum(), (x.astype(np.float64) * back).sum()
    np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-3)


def test_convolutions_of_a_saved_program(run_mil: Any) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, 4, 9, 11)).astype(np.float32)
    w = rng.normal(size=(6, 4, 3, 3)).astype(np.float32)
    depthwise = rng.normal(size=(4, 1, 3, 3)).astype(np.float32)
    transposed = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    bias = rng.normal(size=6).astype(np.float32)

    def build(x: Any) -> list[Any]:
        return [
            mb.conv(x=x, weight=w, bias=bias, strides=[2, 2], pad_type="custom", pad=[1, 1, 0, 2]),
            mb.conv(x=x, weight=depthwise, groups=4, pad_type="same"),
            mb.conv_transpose(x=x, weight=transposed, bias=bias[:3], strides=[2, 2]),
            mb.conv_transpose(x=x, weight=transposed, strides=[2, 2], pad_type="same"),
            mb.conv_transpose(
                x=x, weight=transposed, strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1],
                output_shape=[2, 3, 18, 22],
            ),
        ]  # fmt: skip

    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["a"], strides=[2, 2], pads=[1, 0, 1, 2]),
        helper.make_node("Conv", ["x", "d"], ["c"], group=4, auto_pad="SAME_UPPER"),
        helper.make_node("ConvTranspose", ["x", "t", "tb"], ["e"], strides=[2, 2]),
        helper.make_node("ConvTranspose", ["x", "t"], ["f"], strides=[2, 2], pads=[0, 0, 1, 1]),
        helper.make_node(
            "ConvTranspose", ["x", "t"], ["g"], strides=[2, 2], pads=[1, 1, 1, 1],
            output_padding=[1, 1],
        ),
    ]  # fmt: skip
    weights = {"w": w, "b": bias, "d": depthwise, "t": transposed, "tb": bias[:3].copy()}
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "reference",
        [helper.make_tensor_value_info(name, floats, None) for name in ("x", *weights)],
        [helper.make_tensor_value_info(name, floats, None) for name in "acefg"],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    expected = OrtSession(model.SerializeToString()).run({"x": x, **weights})
    for result, reference in zip(run_mil(build, {"x": x}), expected.values(), strict=True):
        np.testing.assert_allclose(result, reference, rtol=1e-5, atol=1e-5)


def test_past_the_end_of_a_transposed_convolution_is_bias(apply_kernel: Any) -> None:
    x = np.ones((1, 1, 2, 2), np.float32)
    w = np.ones((1, 1, 1, 1), np.float32)
    result = apply_kernel(
        "conv_transpose",
        x=x,
        weight=w,
        bias=np.array([5.0], np.float32),
        strides=np.array([2, 2]),
        pad_type="same",
    )
    assert result[0, 0].tolist() == [[6, 5, 6, 5], [5, 5, 5, 5], [6, 5, 6, 5], [5, 5, 5, 5]]


def test_weights_computed_at_run_time(run_mil: Any) -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(1, 2, 5, 5)).astype(np.float32)
    w = rng.normal(size=(3, 2, 3, 3)).astype(np.float32)
    (result,) = run_mil(
        lambda x, w: mb.conv(x=x, weight=mb.mul(x=w, y=np.float32(2)), pad_type="valid"),
        {"x": x, "w": w},
    )
    expected = _loops(x, 2 * w, [1, 1], [(0, 0), (0, 0)], [1, 1], 1)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
