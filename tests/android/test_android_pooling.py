"""Pools against ONNX Runtime: padding, ceil_mode, counting of pads, float and int8."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewise.errors import UnsupportedOperator

WINDOWS: dict[str, dict[str, Any]] = {
    "plain": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "same": {"kernel_shape": [3, 3], "pads": [1] * 4},
    "padded stride 2": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4},
    "asymmetric": {"kernel_shape": [2, 3], "pads": [0, 1, 1, 0]},
    "ceil": {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    "ceil and pads": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "ceil_mode": 1},
    "same upper": {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "same lower": {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER"},
}


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("case", WINDOWS)
def test_max_pool(execute: Any, kit: Any, rng: Any, case: str, size: int) -> None:
    x = rng.standard_normal((1, 3, size, size), np.float32) - 3  # padding with 0 would win
    pool = kit.node("MaxPool", ["x"], ["y"], **WINDOWS[case])
    run = execute(kit.model([pool], {"x": x}, {"y": np.float32}), {"x": x})
    assert run.error == 0


@pytest.mark.parametrize("zero_point", [-128, 3])
@pytest.mark.parametrize("case", WINDOWS)
def test_max_pool_int8(execute: Any, kit: Any, rng: Any, case: str, zero_point: int) -> None:
    x = rng.standard_normal((1, 3, 9, 9), np.float32) - 1
    parameters = (0.05, zero_point)
    source = kit.int8_model(
        kit.node("MaxPool", ["x"], ["y"], **WINDOWS[case]),
        {"x": x}, parameters, input_parameters={"x": parameters},
    )  # fmt: skip
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb == 0
    assert "android/float-island" not in run.rules()


@pytest.mark.parametrize("count_include_pad", [0, 1])
@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("case", WINDOWS)
def test_average_pool(
    execute: Any, kit: Any, rng: Any, case: str, size: int, count_include_pad: int
) -> None:
    x = rng.standard_normal((1, 3, size, size), np.float32)
    pool = kit.node(
        "AveragePool", ["x"], ["y"], count_include_pad=count_include_pad, **WINDOWS[case]
    )
    run = execute(kit.model([pool], {"x": x}, {"y": np.float32}), {"x": x})
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize("count_include_pad", [0, 1])
@pytest.mark.parametrize("case", WINDOWS)
def test_average_pool_int8(
    execute: Any, kit: Any, rng: Any, case: str, count_include_pad: int
) -> None:
    x = rng.standard_normal((1, 3, 9, 9), np.float32)
    parameters = kit.measured(x)
    source = kit.int8_model(
        kit.node("AveragePool", ["x"], ["y"], count_include_pad=count_include_pad, **WINDOWS[case]),
        {"x": x}, parameters, input_parameters={"x": parameters},
    )  # fmt: skip
    assert execute(source, {"x": x}, "w8a8").lsb <= kit.int8_tolerance


@given(
    size=st.integers(1, 9),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    pads=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    ceil_mode=st.booleans(),
    kind=st.sampled_from(["MaxPool", "AveragePool", "AveragePool with pads"]),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_geometry(
    execute: Any,
    kit: Any,
    size: int,
    kernel: int,
    stride: int,
    pads: tuple[int, int],
    ceil_mode: bool,
    kind: str,
) -> None:
    if size + sum(pads) < kernel or max(pads) >= kernel:
        return
    windows = -(-(size + sum(pads) - kernel) // stride) + 1
    if ceil_mode and windows > 1 and (windows - 1) * stride >= size + pads[0]:
        return  # refused: see the test of windows in the padding
    x = np.random.default_rng(0).standard_normal((1, 2, size, 9), np.float32)
    attributes: dict[str, Any] = {"count_include_pad": 1} if kind.endswith("pads") else {}
    pool = kit.node(
        kind.split()[0], ["x"], ["y"], kernel_shape=[kernel, 1], strides=[stride, 1],
        pads=[pads[0], 0, pads[1], 0], ceil_mode=int(ceil_mode), **attributes,
    )  # fmt: skip
    run = execute(kit.model([pool], {"x": x}, {"y": np.float32}), {"x": x})
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 3, 9), (1, 1, 1, 1)])
def test_global_pools(
    execute: Any, kit: Any, rng: Any, op_type: str, shape: tuple[int, ...]
) -> None:
    x = rng.standard_normal(shape, np.float32)
    pool = kit.node(op_type, ["x"], ["y"])
    run = execute(kit.model([pool], {"x": x}, {"y": np.float32}), {"x": x})
    assert run.error <= kit.float_tolerance


def test_a_pool_over_the_whole_image_is_a_mean(kit: Any) -> None:
    x = {"x": np.zeros((1, 3, 7, 7), np.float32)}
    pool = kit.node("AveragePool", ["x"], ["y"], kernel_shape=[7, 7])
    assert kit.kinds(kit.model([pool], x, {"y": np.float32})) == ["MEAN"]


def test_an_int8_average_is_a_delegated_convolution(kit: Any, rng: Any) -> None:
    """The border has blocks of its own only where it counts fewer elements."""
    x = {"x": rng.standard_normal((1, 3, 8, 8), np.float32)}
    parameters = kit.measured(x["x"])

    def kinds(**window: Any) -> list[str]:
        pool = kit.node("AveragePool", ["x"], ["y"], **window)
        return list(
            kit.kinds(kit.int8_model(pool, x, parameters, input_parameters={"x": parameters}))
        )

    assert kinds(kernel_shape=[2, 2], strides=[2, 2]) == ["DEPTHWISE_CONV_2D"]
    same = {"kernel_shape": [3, 3], "pads": [1] * 4}
    assert kinds(count_include_pad=1, **same) == ["DEPTHWISE_CONV_2D"]
    assert kinds(**same).count("DEPTHWISE_CONV_2D") == 9
    assert kinds(kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4).count("DEPTHWISE_CONV_2D") == 4


def test_max_pool_after_relu_pads_with_a_delegated_operator(kit: Any) -> None:
    """At zero point -128 the lowest value is real zero, which PAD writes."""
    x = {"x": np.zeros((1, 3, 8, 8), np.float32)}
    pool = kit.node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    source = kit.int8_model(pool, x, (0.1, -128), input_parameters={"x": (0.1, -128)})
    assert kit.kinds(source) == ["PAD", "MAX_POOL_2D"]


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "case",
    [
        ((1, 3, 1, 1), [2, 2], [2, 2], [1] * 4),
        ((1, 3, 5, 5), [2, 2], [3, 3], [0, 0, 1, 1]),
        ((1, 3, 5, 5), [2, 2], [3, 2], [0, 0, 1, 0]),  # the last column's window has to stay
    ],
)
def test_windows_in_the_padding_do_not_count(
    execute: Any, kit: Any, rng: Any, op_type: str, case: Any
) -> None:
    shape, kernel, strides, pads = case
    x = rng.standard_normal(shape, np.float32)
    pool = kit.node(
        op_type, ["x"], ["p"], kernel_shape=kernel, strides=strides, pads=pads, ceil_mode=1
    )
    flat = kit.node("Flatten", ["p"], ["y"])
    run = execute(kit.model([pool, flat], {"x": x}, {"y": np.float32}), {"x": x})
    assert run.error <= kit.float_tolerance


VOLUMES: dict[str, dict[str, Any]] = {
    "plain": {"kernel_shape": [2, 3, 2]},
    "strides and pads": {
        "kernel_shape": [3, 3, 2], "strides": [2, 1, 2], "pads": [1, 0, 1, 1, 2, 0],
    },
    "dilated": {
        "kernel_shape": [3, 3, 2], "strides": [2, 2, 2], "pads": [1, 0, 1, 1, 2, 0],
        "dilations": [2, 1, 3],
    },
    "ceil": {
        "kernel_shape": [3, 3, 2], "strides": [2, 2, 2], "pads": [1, 0, 1, 1, 2, 0], "ceil_mode": 1,
    },
    "whole": {"kernel_shape": [7, 8, 9]},
    "one axis": {"kernel_shape": [1, 2, 1]},
    "outer and inner axis": {"kernel_shape": [2, 1, 2], "strides": [2, 1, 2]},
    "single elements": {"kernel_shape": [1, 1, 1]},
}  # fmt: skip


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool", "AveragePool with pads"])
@pytest.mark.parametrize("case", VOLUMES)
def test_three_axes(execute: Any, kit: Any, rng: Any, case: str, kind: str) -> None:
    x = rng.standard_normal((2, 3, 7, 8, 9), np.float32)
    attributes: dict[str, Any] = {"count_include_pad": 1} if kind.endswith("pads") else {}
    pool = kit.node(kind.split()[0], ["x"], ["y"], **attributes, **VOLUMES[case])
    run = execute(kit.model([pool], {"x": x}, {"y": np.float32}), {"x": x})
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
def test_three_axes_int8(execute: Any, kit: Any, rng: Any, op_type: str) -> None:
    x = rng.standard_normal((1, 3, 6, 6, 6), np.float32)
    parameters = kit.measured(x)
    source = kit.int8_model(
        kit.node(op_type, ["x"], ["y"], kernel_shape=[2, 2, 2], strides=[2, 2, 2]),
        {"x": x}, parameters, input_parameters={"x": parameters},
    )  # fmt: skip
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb <= (0 if op_type == "MaxPool" else kit.int8_tolerance)
    assert "android/float-island" not in run.rules()


DILATED: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "one axis": ((2, 3, 9), {"kernel_shape": [3], "strides": [2], "dilations": [2]}),
    "one axis, pads": (
        (2, 3, 9),
        {"kernel_shape": [3], "strides": [2], "dilations": [2], "pads": [1, 1], "ceil_mode": 1},
    ),
    "two axes": ((2, 3, 9, 8), {"kernel_shape": [3, 2], "strides": [2, 1], "dilations": [2, 3]}),
    "two axes, pads": (
        (2, 3, 9, 8), {"kernel_shape": [3, 3], "dilations": [2, 1], "pads": [2, 1, 1, 0]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool", "AveragePool with pads"])
@pytest.mark.parametrize("case", DILATED)
def test_dilated_pools(execute: Any, kit: Any, rng: Any, case: str, kind: str) -> None:
    shape, window = DILATED[case]
    x = rng.standard_normal(shape, np.float32) - 2
    attributes: dict[str, Any] = {"count_include_pad": 1} if kind.endswith("pads") else {}
    pool = kit.node(kind.split()[0], ["x"], ["y"], **attributes, **window)
    run = execute(kit.model([pool], {"x": x}, {"y": np.float32}), {"x": x})
    assert run.error <= kit.float_tolerance


def test_dilation_with_same_padding_is_refused(execute: Any, kit: Any) -> None:
    x = {"x": np.zeros((1, 3, 8, 8), np.float32)}
    pool = kit.node(
        "MaxPool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[2, 2], auto_pad="SAME_UPPER"
    )
    with pytest.raises(UnsupportedOperator, match="another shape in each runtime"):
        execute(kit.model([pool], x, {"y": np.float32}), x)


@pytest.mark.parametrize("op_type", ["AveragePool", "MaxPool"])
def test_a_window_larger_than_its_input_is_refused(execute: Any, kit: Any, op_type: str) -> None:
    x = np.ones((1, 1, 2, 1), np.float32)
    pool = kit.node(op_type, ["x"], ["y"], kernel_shape=[2, 3], pads=[0, 0, 0, 1], strides=[2, 3])
    with pytest.raises(UnsupportedOperator, match="larger than its input"):
        execute(kit.model([pool], {"x": x}, {"y": np.float32}), {"x": x})


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("case", WINDOWS)
def test_max_pool_of_plain_integers(
    execute: Any, kit: Any, rng: Any, case: str, dtype: type
) -> None:
    limits = np.iinfo(dtype)
    x = rng.integers(limits.min, limits.max + 1, (1, 3, 9, 9)).astype(dtype)
    pool = kit.node("MaxPool", ["x"], ["y"], **WINDOWS[case])
    assert execute(kit.model([pool], {"x": x}, {"y": dtype}), {"x": x}).error == 0


@pytest.mark.parametrize("case", ["padded stride 2", "ceil and pads", "asymmetric", "same lower"])
@pytest.mark.parametrize("count_include_pad", [0, 1])
def test_average_pool_stays_in_integers_at_the_border(
    execute: Any, kit: Any, rng: Any, case: str, count_include_pad: int
) -> None:
    x = rng.standard_normal((1, 3, 8, 8), np.float32)
    parameters = kit.measured(x)
    source = kit.int8_model(
        kit.node("AveragePool", ["x"], ["y"], count_include_pad=count_include_pad, **WINDOWS[case]),
        {"x": x}, parameters, input_parameters={"x": parameters},
    )  # fmt: skip
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert "android/float-island" not in run.rules()
