"""Conv and ConvTranspose against ONNX Runtime: geometry, groups, bias, float and int8."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewise.errors import UnsupportedOperator
from edgewise.graph import OrtSession

CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "valid": ((1, 8, 9, 9), (6, 8, 3, 3), {}),
    "symmetric": ((1, 8, 9, 9), (6, 8, 3, 3), {"pads": [1, 1, 1, 1]}),
    "stride 2 on even size": ((1, 8, 8, 8), (6, 8, 3, 3), {"pads": [1] * 4, "strides": [2, 2]}),
    "asymmetric": ((1, 8, 9, 7), (6, 8, 3, 3), {"pads": [0, 1, 2, 1], "strides": [2, 1]}),
    "same upper": ((1, 8, 8, 8), (6, 8, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((1, 8, 8, 8), (6, 8, 3, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "dilated": ((1, 8, 9, 9), (6, 8, 3, 3), {"pads": [2] * 4, "dilations": [2, 2]}),
    "pointwise": ((1, 8, 5, 5), (6, 8, 1, 1), {}),
    "one pixel": ((1, 8, 1, 1), (6, 8, 1, 1), {}),
    "batch of two": ((2, 8, 5, 5), (6, 8, 3, 3), {"pads": [1] * 4}),
    "one channel": ((1, 1, 9, 9), (6, 1, 3, 3), {"pads": [1] * 4}),
    "depthwise": ((1, 8, 9, 9), (8, 1, 3, 3), {"group": 8, "pads": [1] * 4}),
    "depthwise stride 2": (
        (1, 8, 8, 8), (8, 1, 3, 3), {"group": 8, "pads": [1] * 4, "strides": [2, 2]},
    ),
    "depth multiplier": ((1, 8, 9, 9), (16, 1, 3, 3), {"group": 8}),
    "two groups": ((1, 8, 9, 9), (6, 4, 3, 3), {"group": 2, "pads": [1] * 4}),
    "one-dimensional": ((1, 8, 15), (6, 8, 3), {"pads": [1, 1], "strides": [2]}),
    "one-dimensional depthwise": ((1, 8, 15), (8, 1, 3), {"group": 8}),
    "stride beyond the kernel": ((1, 8, 9, 9), (6, 8, 2, 2), {"strides": [3, 4]}),
    "volume": ((1, 4, 6, 7, 8), (5, 4, 3, 3, 3), {}),
    "volume, every attribute": (
        (2, 4, 6, 7, 8),
        (5, 4, 3, 2, 3),
        {"pads": [1, 0, 2, 0, 1, 1], "strides": [2, 1, 2], "dilations": [1, 2, 1]},
    ),
    "volume, same": (
        (1, 4, 6, 7, 8), (5, 4, 3, 3, 3), {"auto_pad": "SAME_LOWER", "strides": [2] * 3},
    ),
    "volume, groups": ((1, 4, 6, 7, 8), (6, 2, 3, 2, 3), {"group": 2, "pads": [1] * 6}),
    "volume, depthwise": ((1, 4, 6, 7, 8), (8, 1, 3, 3, 3), {"group": 4, "strides": [2] * 3}),
    "volume, flat depthwise": ((1, 4, 6, 7, 8), (8, 1, 1, 3, 3), {"group": 4}),
    "volume, pointwise": ((1, 4, 6, 7, 8), (5, 4, 1, 1, 1), {"strides": [3, 2, 1]}),
}  # fmt: skip

TRANSPOSED: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((1, 8, 5, 5), (8, 4, 2, 2), {"strides": [2, 2]}),
    "same": ((1, 8, 5, 5), (8, 4, 4, 4), {"strides": [2, 2], "pads": [1] * 4}),
    "output padding": (
        (1, 8, 5, 5), (8, 4, 3, 3), {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]},
    ),
    "output beyond the kernel": (
        (1, 8, 5, 5), (8, 4, 2, 2), {"strides": [2, 2], "output_padding": [1, 1]},
    ),
    "asymmetric": ((1, 8, 5, 5), (8, 4, 3, 3), {"strides": [2, 1], "pads": [0, 1, 1, 0]}),
    "dilated": ((1, 8, 5, 5), (8, 4, 3, 3), {"dilations": [2, 2], "pads": [1] * 4}),
    "groups": ((1, 8, 5, 5), (8, 2, 3, 3), {"group": 2, "strides": [2, 2]}),
    "same upper": ((1, 8, 5, 5), (8, 4, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((1, 8, 5, 5), (8, 4, 3, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "one-dimensional": ((1, 8, 7), (8, 4, 4), {"strides": [2], "pads": [1, 1]}),
    "output shape": ((1, 8, 3, 4), (8, 4, 3, 3), {"strides": [2, 2], "output_shape": [5, 7]}),
    "larger output shape": (
        (1, 8, 3, 4), (8, 4, 3, 3), {"strides": [2, 2], "output_shape": [8, 10]},
    ),
    "stride beyond the kernel": ((1, 8, 3, 4), (8, 4, 1, 1), {"strides": [3, 2]}),
    "depthwise": (
        (2, 12, 4, 5), (12, 1, 4, 4), {"group": 12, "strides": [2, 2], "pads": [1] * 4},
    ),
    "depthwise, every attribute": (
        (1, 12, 4, 5),
        (12, 2, 3, 2),
        {
            "group": 12, "strides": [2, 1], "dilations": [2, 3], "pads": [5, 2, 1, 0],
            "output_padding": [1, 0],
        },
    ),
    "one-dimensional depthwise": (
        (1, 12, 5), (12, 2, 1), {"group": 12, "strides": [3], "pads": [1, 0]},
    ),
    "volume": ((1, 4, 3, 4, 5), (4, 3, 2, 2, 2), {"strides": [2] * 3}),
    "volume, output padding": (
        (2, 4, 3, 4, 5),
        (4, 3, 3, 3, 3),
        {"strides": [2, 2, 1], "pads": [1, 0, 1, 1, 1, 0], "output_padding": [1, 0, 0]},
    ),
    "volume, dilated": (
        (1, 4, 3, 4, 5),
        (4, 3, 3, 3, 3),
        {"dilations": [2, 1, 2], "strides": [3, 2, 2], "pads": [3, 1, 1, 2, 1, 1]},
    ),
    "volume, groups": (
        (1, 4, 3, 4, 5), (4, 3, 3, 3, 3), {"group": 2, "strides": [1, 2, 2]},
    ),
    "volume, same": (
        (1, 4, 3, 4, 5), (4, 3, 3, 3, 3), {"strides": [2] * 3, "auto_pad": "SAME_UPPER"},
    ),
}  # fmt: skip
DENSE = ("groups", "volume, groups")


def _weights(rng: Any, shape: tuple[int, ...], axis: int) -> tuple[Any, Any]:
    integers = rng.integers(-127, 128, shape).astype(np.int8)
    return integers, rng.uniform(0.002, 0.01, shape[axis]).astype(np.float32)


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_convolution_float(execute: Any, kit: Any, rng: Any, case: str, bias: bool) -> None:
    shape, weights, attributes = CONVOLUTIONS[case]
    x = rng.standard_normal(shape, np.float32)
    constants = {"w": rng.standard_normal(weights, np.float32) * 0.2}
    if bias:
        constants["b"] = rng.standard_normal(weights[0], np.float32)
    conv = kit.node("Conv", ["x", *constants], ["y"], **attributes)
    run = execute(kit.model([conv], {"x": x}, {"y": np.float32}, constants), {"x": x})
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution_int8(execute: Any, kit: Any, rng: Any, case: str) -> None:
    shape, weights, attributes = CONVOLUTIONS[case]
    x = rng.standard_normal(shape, np.float32)
    integers, scales = _weights(rng, weights, 0)
    bias = rng.standard_normal(weights[0], np.float32)
    conv = kit.node("Conv", ["x", "w", "b"], ["y"], **attributes)
    source = kit.int8_model(
        conv, {"x": x}, (0.05, -3), weights={"w": (integers, scales, 0)}, constants={"b": bias}
    )
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert "android/float-island" not in run.rules()
    assert ("android/layout-transpose" in run.rules()) == (len(shape) != 4)


@pytest.mark.parametrize("case", TRANSPOSED)
def test_transposed_convolution_float(execute: Any, kit: Any, rng: Any, case: str) -> None:
    shape, weights, attributes = TRANSPOSED[case]
    x = rng.standard_normal(shape, np.float32)
    channels = weights[1] * attributes.get("group", 1)
    constants = {
        "w": rng.standard_normal(weights, np.float32) * 0.2,
        "b": rng.standard_normal(channels, np.float32),
    }
    layer = kit.node("ConvTranspose", ["x", "w", "b"], ["y"], **attributes)
    run = execute(kit.model([layer], {"x": x}, {"y": np.float32}, constants), {"x": x})
    assert run.error <= kit.float_tolerance
    assert ("android/dense-groups" in run.rules()) == (case in DENSE)


@pytest.mark.parametrize("case", TRANSPOSED)
def test_transposed_convolution_int8(execute: Any, kit: Any, rng: Any, case: str) -> None:
    shape, weights, attributes = TRANSPOSED[case]
    x = rng.standard_normal(shape, np.float32)
    integers, scales = _weights(rng, weights, 1)
    layer = kit.node("ConvTranspose", ["x", "w"], ["y"], **attributes)
    source = kit.int8_model(layer, {"x": x}, (0.05, -3), weights={"w": (integers, scales, 1)})
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert "android/float-island" not in run.rules()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_computed_weights(execute: Any, kit: Any, rng: Any, case: str, bias: bool) -> None:
    shape, weights, attributes = CONVOLUTIONS[case]
    feeds = {
        "x": rng.standard_normal(shape, np.float32),
        "w": rng.standard_normal(weights, np.float32) * np.float32(0.2),
    }
    if bias:
        feeds["b"] = rng.standard_normal(weights[0], np.float32)
    conv = kit.node("Conv", list(feeds), ["y"], **attributes)
    assert execute(kit.model([conv], feeds, {"y": np.float32}), feeds).error <= kit.float_tolerance


@pytest.mark.parametrize("case", ["plain", "same", "asymmetric", "one-dimensional"])
def test_computed_weights_of_a_transposed_convolution(
    execute: Any, kit: Any, rng: Any, case: str
) -> None:
    shape, weights, attributes = TRANSPOSED[case]
    feeds = {
        "x": rng.standard_normal(shape, np.float32),
        "w": rng.standard_normal(weights, np.float32) * np.float32(0.2),
    }
    layer = kit.node("ConvTranspose", ["x", "w"], ["y"], **attributes)
    run = execute(kit.model([layer], feeds, {"y": np.float32}), feeds)
    assert run.error <= kit.float_tolerance


def test_computed_weights_that_must_be_spread_are_refused(execute: Any, kit: Any, rng: Any) -> None:
    shape, weights, attributes = TRANSPOSED["dilated"]
    feeds = {"x": np.zeros(shape, np.float32), "w": np.zeros(weights, np.float32)}
    layer = kit.node("ConvTranspose", ["x", "w"], ["y"], **attributes)
    with pytest.raises(UnsupportedOperator, match="would have to be spread out"):
        execute(kit.model([layer], feeds, {"y": np.float32}), feeds)


def test_same_padding_with_output_padding_is_refused(execute: Any, kit: Any) -> None:
    x, w = np.zeros((1, 4, 3, 4), np.float32), np.zeros((4, 3, 3, 3), np.float32)
    layer = kit.node(
        "ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], auto_pad="SAME_UPPER",
        output_padding=[1, 1],
    )  # fmt: skip
    with pytest.raises(UnsupportedOperator, match="another shape in each runtime"):
        execute(kit.model([layer], {"x": x}, {"y": np.float32}, {"w": w}), {"x": x})


def test_a_volume_is_convolved_by_one_operator(kit: Any) -> None:
    x = {"x": np.zeros((1, 4, 6, 7, 8), np.float32)}
    conv = kit.node("Conv", ["x", "w"], ["y"])
    found = kit.kinds(
        kit.model([conv], x, {"y": np.float32}, {"w": np.zeros((5, 4, 3, 3, 3), np.float32)})
    )
    assert found.count("CONV_2D") == 1
    assert found.count("TRANSPOSE") == 2  # a volume enters and leaves in ONNX order


def test_a_sequence_of_one_dimensional_layers_is_never_transposed_inside(kit: Any) -> None:
    x = {"x": np.zeros((1, 4, 16), np.float32)}
    nodes = [
        kit.node("Conv", ["x", "w"], ["a"], pads=[1, 1]),
        kit.node("Relu", ["a"], ["b"]),
        kit.node("Conv", ["b", "d"], ["c"], group=4),
        kit.node("MaxPool", ["c"], ["y"], kernel_shape=[2], strides=[2]),
    ]
    constants = {"w": np.zeros((4, 4, 3), np.float32), "d": np.zeros((8, 1, 3), np.float32)}
    found = kit.kinds(kit.model(nodes, x, {"y": np.float32}, constants))
    assert found.count("TRANSPOSE") == 2 and found[0] == found[-1] == "TRANSPOSE"


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.tuples(*[st.integers(0, 3)] * 4),
    depthwise=st.booleans(),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_geometry(
    execute: Any,
    kit: Any,
    size: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pads: tuple[int, ...],
    depthwise: bool,
) -> None:
    for axis in (0, 1):
        window = (kernel[axis] - 1) * dilations[axis] + 1
        if size[axis] + pads[axis] + pads[axis + 2] < window:
            return
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 4, *size), np.float32)
    weights = rng.standard_normal((4, 1 if depthwise else 4, *kernel), np.float32)
    conv = kit.node(
        "Conv", ["x", "w"], ["y"], strides=list(strides), dilations=list(dilations),
        pads=list(pads), group=4 if depthwise else 1,
    )  # fmt: skip
    run = execute(kit.model([conv], {"x": x}, {"y": np.float32}, {"w": weights}), {"x": x})
    assert run.error <= 1e-4


def test_the_models_bias_integers_are_taken_as_they_are(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.standard_normal((1, 3, 4, 4), np.float32)
    integers, scales = _weights(rng, (2, 3, 1, 1), 0)
    scale, zero = kit.measured(x)
    bias = np.array([12345, -54321], np.int32)
    source = kit.int8_model(
        kit.node("Conv", ["x", "w", "b"], ["y"]),
        {"x": x},
        (0.05, 0),
        input_parameters={"x": (scale, zero)},
        weights={"w": (integers, scales, 0), "b": (bias, np.float32(scale) * scales, 0)},
    )
    run = execute(source, {"x": x}, "w8a8")
    assert bias.tobytes() in run.artifact.path.read_bytes()
    assert run.lsb <= kit.int8_tolerance


def test_stride_two_of_pytorch_is_padded_and_tf_same_is_not(kit: Any) -> None:
    x = {"x": np.zeros((1, 3, 8, 8), np.float32)}
    weights = {"w": np.zeros((4, 3, 3, 3), np.float32)}
    pytorch = kit.node("Conv", ["x", "w"], ["y"], pads=[1] * 4, strides=[2, 2])
    tensorflow = kit.node("Conv", ["x", "w"], ["y"], pads=[0, 0, 1, 1], strides=[2, 2])
    assert kit.kinds(kit.model([pytorch], x, {"y": np.float32}, weights)) == ["PAD", "CONV_2D"]
    assert kit.kinds(kit.model([tensorflow], x, {"y": np.float32}, weights)) == ["CONV_2D"]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [((0, 6), ["CONV_2D"]), ((0, np.inf), ["CONV_2D"]), ((-1, 1), ["CONV_2D"]),
     ((0, 1), ["CONV_2D", "RELU_0_TO_1"]), ((-0.5, 0.7), ["CONV_2D", "MAXIMUM", "MINIMUM"])],
)  # fmt: skip
def test_clip_is_fused_where_tflite_has_it(
    execute: Any, kit: Any, rng: Any, bounds: tuple[float, float], expected: list[str]
) -> None:
    x = rng.standard_normal((1, 3, 5, 5), np.float32) * 4
    constants = {
        "w": rng.standard_normal((4, 3, 1, 1), np.float32),
        "low": np.float32(bounds[0]),
        "high": np.float32(bounds[1]),
    }
    nodes = [kit.node("Conv", ["x", "w"], ["t"]), kit.node("Clip", ["t", "low", "high"], ["y"])]
    source = kit.model(nodes, {"x": x}, {"y": np.float32}, constants)
    assert kit.kinds(source) == expected
    assert execute(source, {"x": x}).error <= kit.float_tolerance


@pytest.mark.parametrize("bounds", [(0.0, 6.0), (-0.5, 0.7), (0.0, 100.0)])
def test_clip_between_an_int8_convolution_and_its_quantization(
    execute: Any, kit: Any, rng: Any, tmp_path: Any, bounds: tuple[float, float]
) -> None:
    x = rng.standard_normal((1, 3, 5, 5), np.float32) * 4
    integers, scales = _weights(rng, (4, 3, 1, 1), 0)
    source = kit.int8_model(
        kit.node("Conv", ["x", "w"], ["y"]), {"x": x}, (0.04, -20),
        weights={"w": (integers, scales, 0)},
        constants={"low": np.float32(bounds[0]), "high": np.float32(bounds[1])},
        activation=("Clip", ["low", "high"]),
    )  # fmt: skip
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert "android/float-island" not in run.rules()


@pytest.mark.parametrize("problem", ["asymmetric", "axis", "minus 128", "ratio", "bias"])
def test_weights_that_no_int8_kernel_takes_run_in_float(
    execute: Any, kit: Any, rng: Any, problem: str
) -> None:
    """The result stays right, and a finding names the reason."""
    x = rng.standard_normal((1, 4, 4, 4), np.float32)
    integers, scales = _weights(rng, (4, 4, 1, 1), 0)
    axis, output, constants, inputs = 0, (0.05, 0), {}, ["x", "w"]
    if problem == "axis":
        axis = 1
    elif problem == "minus 128":
        integers[0, 0] = -128
    elif problem == "ratio":
        output = (1e-7, 0)
    elif problem == "bias":
        constants["b"], inputs = np.full(4, 1e9, np.float32), ["x", "w", "b"]
    source = kit.int8_model(
        kit.node("Conv", inputs, ["y"]), {"x": x}, output,
        weights={"w": (integers, scales, axis)}, constants=constants,
        weight_zero_point=5 if problem == "asymmetric" else 0,
    )  # fmt: skip
    run = execute(source, {"x": x}, "w8a8")
    assert run.rules().count("android/float-island") == 1
    assert run.lsb <= kit.int8_tolerance
    assert OrtSession(source).output_names == ["y"]
