"""Large convolutions go to the general matrix product, with the same weights bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.graph import OrtSession, constant, quantization_of
from edgewise.targets.arm import TARGET
from edgewise.targets.arm.matrix_kernels import choose_matrix_kernels, prefers_general_kernel
from edgewise.targets.validation.devices.bundle.installation import Installation

K, N = 192, 128


def conv(
    weights: np.ndarray,
    *,
    zero_point: int = 0,
    activation: type[np.generic] = np.int8,
    group: int = 1,
    shared: bool = False,
) -> ir.Model:
    """Q-DQ, Conv with per-channel int8 weights, Q-DQ; `shared`, two of them with one weight."""
    channels = weights.shape[1] * group
    scales = np.linspace(0.001, 0.01, len(weights)).astype(np.float32)
    arrays: dict[str, Any] = {
        "one": np.float32(1), "large": np.float32(300), "zero": activation(5), "w": weights,
        "s": scales, "z": np.full(len(weights), zero_point, np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["x_q"]),
        helper.make_node("DequantizeLinear", ["x_q", "one", "zero"], ["x_dq"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["w_dq"], axis=0),
    ]
    outputs = []
    for index in range(1 + shared):
        y = f"y{index}"
        nodes += [
            helper.make_node(
                "Conv", ["x_dq", "w_dq"], [f"{y}_f"], name=f"conv{index}", group=group
            ),
            helper.make_node("QuantizeLinear", [f"{y}_f", "large", "zero"], [f"{y}_q"]),
            helper.make_node("DequantizeLinear", [f"{y}_q", "large", "zero"], [y]),
        ]
        outputs.append(helper.make_tensor_value_info(y, TensorProto.FLOAT, None))
    graph = helper.make_graph(
        nodes,
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, 5, 5])],
        outputs,
        [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()],
    )
    opset = [helper.make_opsetid("", 21)]
    proto = helper.make_model(graph, opset_imports=opset, ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def weights(*shape: int, low: int = -126) -> np.ndarray:
    return np.random.default_rng(0).integers(low, 128, shape).astype(np.int8)


def stored(model: ir.Model) -> tuple[np.ndarray, Any]:
    (node,) = (n for n in model.graph if n.name == "conv0")
    weight = node.inputs[1]
    assert weight is not None
    dequantize = weight.producer()
    assert dequantize is not None
    integers = constant(dequantize.inputs[0])
    assert integers is not None
    return integers, quantization_of(dequantize)


def test_weights_stay_what_they_are() -> None:
    model = conv(weights(N, K, 1, 1))
    before, old = stored(model)
    x = {"x": np.random.default_rng(1).integers(-128, 128, (1, K, 5, 5)).astype(np.float32)}
    expected = OrtSession(model, optimize="none").run(x)
    assert choose_matrix_kernels(model)
    after, new = stored(model)
    assert (new.zero_point == -1).all() and new.axis == old.axis
    np.testing.assert_array_equal(new.dequantize(after), old.dequantize(before))
    found = OrtSession(model, optimize="none").run(x)
    assert np.ptp(expected["y0"]) > 0
    np.testing.assert_array_equal(found["y0"], expected["y0"])
    assert not choose_matrix_kernels(model)


@pytest.mark.parametrize(
    ("inputs", "outputs", "general"),
    [
        (16, 96, False), (32, 192, False), (64, 384, False), (384, 96, True), (960, 320, True),
        (27, 32, False), (576, 64, False), (1152, 128, True), (144, 24, True), (24, 144, True),
        (96, 576, False), (80, 24, False), (40, 24, False),
    ],
)  # fmt: skip
def test_large_products_prefer_it(inputs: int, outputs: int, general: bool) -> None:
    assert prefers_general_kernel(inputs, outputs) is general


@pytest.mark.parametrize(
    "model",
    [
        conv(weights(16, 32, 1, 1)),
        conv(weights(N, K, 1, 1), shared=True),
        conv(weights(N, K, 1, 1), group=2),
        conv(weights(N, K, 1, 1), zero_point=3),
        conv(weights(N, K, 1, 1), activation=np.uint8),
        conv(weights(N, K, 1, 1, low=-128)),
    ],
    ids=["small", "shared", "groups", "zero point", "unsigned", "lowest integer"],
)
def test_others_are_left_alone(model: ir.Model) -> None:
    assert not choose_matrix_kernels(model)


@pytest.mark.parametrize(("second", "moved"), [(8, False), (7, True), (16, True), (24, True)])
def test_products_that_are_added_in_16_bits_must_fit(second: int, moved: bool) -> None:
    array = weights(N, K, 1, 1)
    array[3, [0, second]] = -127
    assert choose_matrix_kernels(conv(array)) is moved


def test_order_of_products_is_that_of_channels_last() -> None:
    array = weights(N, 4, 7, 7)
    array[3, 1, 0, [0, 2]] = -127  # products 1 and 9
    assert not choose_matrix_kernels(conv(array))
    array = weights(N, 4, 7, 7)
    array[3, 0, [0, 1], [0, 1]] = -127  # products 0 and 32; 0 and 8 in channels first
    assert choose_matrix_kernels(conv(array))


@pytest.mark.parametrize("cpu", ["cortex-a53", "neoverse-v1"])
def test_same_integers_on_arm64_at_the_ends_of_the_range(
    cpu: str, emulator: Installation, tmp_path: Path
) -> None:
    """Every activation is -128, and the weights are as low as the rule allows."""
    array = np.random.default_rng(2).choice([-126, -120, 90], (N, K, 1, 1)).astype(np.int8)
    array[:, ::16] = -127
    artifact = TARGET.emit(conv(array), tmp_path, "w8a8")
    assert "lowered" in artifact.path.read_bytes().decode(errors="ignore")
    x = np.full((1, K, 5, 5), -133, np.float32)
    x[0, :, 2, 2] = np.random.default_rng(3).integers(-133, 122, K)
    session = TARGET.open(artifact, f"emulated:{cpu}")
    try:
        found = session.run({"x": x})["y0"]
    finally:
        session.close()
    expected = OrtSession(conv(array), optimize="none").run({"x": x})["y0"]
    np.testing.assert_array_equal(found, expected)
    assert np.abs(expected).max() < 300 * 120, "a saturated output proves nothing"
