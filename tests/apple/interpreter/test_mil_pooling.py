"""Pooling against plain loops over windows, and against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgewise.graph import OrtSession
from edgewise.targets.apple._coremltools import Builder as mb

Array = npt.NDArray[Any]


@st.composite
def _geometry(draw: st.DrawFn) -> dict[str, Any]:
    rank = draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    ceil_mode = rank < 3 and draw(st.booleans())
    before = [draw(st.integers(0, k // 2)) for k in kernel]
    after = before if ceil_mode else [draw(st.integers(0, k // 2)) for k in kernel]
    return {
        "shape": (1, 2, *(k + draw(st.integers(0, 6)) for k in kernel)),
        "kernel": kernel,
        "strides": [draw(st.integers(1, 4)) for _ in range(rank)],
        "pads": list(zip(before, after, strict=True)),
        "ceil_mode": ceil_mode,
    }


def _out_size(size: int, kernel: int, stride: int, pads: tuple[int, int], ceil_mode: bool) -> int:
    room = size + sum(pads) - kernel
    if not ceil_mode:
        return room // stride + 1
    out = -(-room // stride) + 1
    return out - 1 if sum(pads) and (out - 1) * stride >= size + pads[0] else out


def _windows(x: Array, geometry: dict[str, Any]) -> Any:
    """Position, values inside the input, and count of elements inside the padded input."""
    spatial = x.shape[2:]
    per_axis = list(
        zip(spatial, geometry["kernel"], geometry["strides"], geometry["pads"], strict=True)
    )
    sizes = [_out_size(n, k, s, p, geometry["ceil_mode"]) for n, k, s, p in per_axis]
    for position in np.ndindex(*sizes):
        window, padded = [], 1
        for index, (size, kernel, stride, (begin, end)) in zip(position, per_axis, strict=True):
            first = index * stride - begin
            window.append(slice(max(first, 0), min(first + kernel, size)))
            padded *= min(first + kernel, size + end) - first
        yield sizes, position, x[(slice(None), slice(None), *window)], padded


def _apply(
    apply_kernel: Any, op_type: str, x: Array, geometry: dict[str, Any], **extra: Any
) -> Any:
    return apply_kernel(
        op_type,
        x=x,
        kernel_sizes=np.array(geometry["kernel"]),
        strides=np.array(geometry["strides"]),
        pad=np.array(geometry["pads"]).reshape(-1),
        pad_type="custom",
        ceil_mode=np.array(geometry["ceil_mode"]),
        **extra,
    )


@settings(deadline=None, max_examples=80)
@given(_geometry(), st.booleans(), st.integers(0, 9))
def test_pooling_geometry(
    apply_kernel: Any, geometry: dict[str, Any], exclude: bool, seed: int
) -> None:
    x = np.random.default_rng(seed).normal(size=geometry["shape"]).astype(np.float32)
    windows = list(_windows(x, geometry))
    assume(all(values.size for _, _, values, _ in windows))  # a window with no input is undefined
    maximum, average, energy = (np.zeros((*x.shape[:2], *windows[0][0])) for _ in range(3))
    for _, position, values, padded in windows:
        at = (slice(None), slice(None), *position)
        flat = values.reshape(*values.shape[:2], -1).astype(np.float64)
        maximum[at] = flat.max(axis=-1)
        average[at] = flat.sum(axis=-1) / (flat.shape[-1] if exclude else padded)
        energy[at] = np.sqrt(np.square(flat).sum(axis=-1))
    assert np.array_equal(_apply(apply_kernel, "max_pool", x, geometry), maximum)
    result = _apply(
        apply_kernel, "avg_pool", x, geometry, exclude_padding_from_average=np.array(exclude)
    )
    np.testing.assert_allclose(result, average, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(_apply(apply_kernel, "l2_pool", x, geometry), energy, rtol=1e-5)


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("same", ["same", "same_lower"])
def test_a_saved_program_against_onnx_runtime(run_mil: Any, exclude: bool, same: str) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 10, 13)).astype(np.float32)

    def build(x: Any) -> list[Any]:
        return [
            mb.max_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type=same),
            mb.avg_pool(
                x=x, kernel_sizes=[3, 2], strides=[2, 2], pad_type=same,
                exclude_padding_from_average=exclude,
            ),
            mb.max_pool(
                x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1],
                ceil_mode=True,
            ),
            mb.avg_pool(
                x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1],
                ceil_mode=True, exclude_padding_from_average=exclude,
            ),
        ]  # fmt: skip

    auto = {"same": "SAME_UPPER", "same_lower": "SAME_LOWER"}[same]
    counted = {"count_include_pad": int(not exclude)}
    ones = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}
    nodes = [
        helper.make_node(
            "MaxPool", ["x"], ["a"], kernel_shape=[3, 3], strides=[2, 2], auto_pad=auto
        ),
        helper.make_node(
            "AveragePool",
            ["x"],
            ["b"],
            kernel_shape=[3, 2],
            strides=[2, 2],
            auto_pad=auto,
            **counted,
        ),
        helper.make_node("MaxPool", ["x"], ["c"], **ones),
        helper.make_node("AveragePool", ["x"], ["d"], **ones, **counted),
    ]
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "reference",
        [helper.make_tensor_value_info("x", floats, None)],
        [helper.make_tensor_value_info(name, floats, None) for name in "abcd"],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    expected = OrtSession(model.SerializeToString()).run({"x": x})
    for result, reference in zip(run_mil(build, {"x": x}), expected.values(), strict=True):
        np.testing.assert_allclose(result, reference, rtol=1e-5, atol=1e-6)
