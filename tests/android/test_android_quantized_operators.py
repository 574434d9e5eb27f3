"""The operator-oriented form of quantized models, and Q and DQ nodes that no tensor can hold,
against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

BYTES = [np.int8, np.uint8]


def integers(rng: Any, dtype: Any, shape: tuple[int, ...]) -> Any:
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def run_operator(
    execute: Any,
    kit: Any,
    op_type: str,
    inputs: dict[str, Any],
    constants: dict[str, Any],
    outputs: dict[str, Any],
    precision: str,
    **attributes: Any,
) -> Any:
    names = sorted([*inputs, *constants])
    layer = kit.node(op_type, names, list(outputs), **attributes)
    return execute(kit.model([layer], inputs, outputs, constants), inputs, precision)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("zero_point", [0, 3])
@pytest.mark.parametrize(
    ("dtype", "weight_dtype"),
    [(np.uint8, np.uint8), (np.uint8, np.int8), (np.int8, np.int8)],  # what ONNX Runtime has
)
def test_qlinear_conv(
    execute: Any,
    kit: Any,
    rng: Any,
    dtype: Any,
    weight_dtype: Any,
    zero_point: int,
    per_channel: bool,
    bias: bool,
) -> None:
    channels = 6
    scales = rng.uniform(0.002, 0.01, channels).astype(np.float32)
    points = np.full(channels, zero_point, weight_dtype)
    constants = {
        "b": np.float32(0.02),
        "c": dtype(7),
        "d": integers(rng, weight_dtype, (channels, 3, 3, 3)),
        "e": scales if per_channel else scales[0],
        "f": points if per_channel else points[0],
        "g": np.float32(0.2),
        "h": dtype(5),
    }
    if bias:
        constants["i"] = rng.integers(-500, 500, channels).astype(np.int32)
    x = integers(rng, dtype, (1, 3, 8, 9))
    run = run_operator(
        execute, kit, "QLinearConv", {"a": x}, constants, {"y": dtype}, "w8a8",
        pads=[1, 0, 2, 1], strides=[2, 1],
    )  # fmt: skip
    assert run.error <= 1
    assert np.mean(run.outputs["y"] != run.expected["y"]) < 0.02


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("dtype", BYTES)
def test_qlinear_matmul(execute: Any, kit: Any, rng: Any, dtype: Any, computed: bool) -> None:
    inputs = {"a": integers(rng, dtype, (2, 3, 4))}
    constants = {
        "b": np.float32(0.01),
        "c": dtype(9),
        "e": np.float32(0.02),
        "f": dtype(3),
        "g": np.float32(0.05),
        "h": dtype(20),
    }
    (inputs if computed else constants)["d"] = integers(rng, dtype, (4, 5))
    run = run_operator(execute, kit, "QLinearMatMul", inputs, constants, {"y": dtype}, "w8a8")
    assert run.error <= 1


@pytest.mark.parametrize("length", [7, 700])
@pytest.mark.parametrize("zero_points", [False, True])
@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("right", BYTES)
@pytest.mark.parametrize("left", BYTES)
def test_matmul_integer_is_exact(
    execute: Any,
    kit: Any,
    rng: Any,
    left: Any,
    right: Any,
    computed: bool,
    zero_points: bool,
    length: int,
) -> None:
    inputs = {"a": integers(rng, left, (2, 3, length))}
    constants = {"c": left(9), "d": right(3)} if zero_points else {}
    (inputs if computed else constants)["b"] = integers(rng, right, (length, 5))
    run = run_operator(execute, kit, "MatMulInteger", inputs, constants, {"y": np.int32}, "fp32")
    assert run.error == 0


def test_matmul_integer_is_exact_at_the_largest_products(execute: Any, kit: Any) -> None:
    inputs = {"a": np.full((2, 1000), 255, np.uint8)}
    constants = {"b": np.full((1000, 3), 255, np.uint8)}
    inputs["a"][0, 0] = 254  # makes the sum odd
    run = run_operator(execute, kit, "MatMulInteger", inputs, constants, {"y": np.int32}, "fp32")
    assert run.outputs["y"][0, 0] == 255 * 255 * 1000 - 255
    assert run.error == 0


@pytest.mark.parametrize(("channels", "groups"), [(3, 1), (80, 1), (4, 2)])
@pytest.mark.parametrize("dtype", BYTES)
def test_conv_integer_is_exact(
    execute: Any, kit: Any, rng: Any, dtype: Any, channels: int, groups: int
) -> None:
    constants = {
        "b": integers(rng, np.uint8, (6, channels // groups, 3, 3)),
        "c": dtype(11),
        "d": np.uint8(5),
    }
    x = integers(rng, dtype, (1, channels, 6, 7))
    run = run_operator(
        execute, kit, "ConvInteger", {"a": x}, constants, {"y": np.int32}, "fp32",
        pads=[1, 1, 0, 2], group=groups,
    )  # fmt: skip
    assert run.error == 0


@pytest.mark.parametrize("ends", [(-3, 5), (0.5, 2), (-4, -1), (0, 0)])
def test_dynamic_quantize_linear(execute: Any, kit: Any, ends: tuple[float, float]) -> None:
    x = np.linspace(*ends, 24).astype(np.float32).reshape(4, 6)
    outputs = {"y": np.uint8, "y_s": np.float32, "y_z": np.uint8}
    run = run_operator(execute, kit, "DynamicQuantizeLinear", {"a": x}, {}, outputs, "fp32")
    assert run.error == 0


#: shape of scale and zero point, attributes, and whether they are computed
FORMS: dict[str, tuple[tuple[int, ...], dict[str, int], bool]] = {
    "along an axis": ((6,), {"axis": 1}, False),
    "along the last axis": ((4,), {"axis": -1}, False),
    "in blocks": ((2, 3, 4), {"axis": 1, "block_size": 2}, False),
    "in blocks that do not come out even": ((2, 2, 4), {"axis": 1, "block_size": 4}, False),
    "computed": ((), {}, True),
    "computed, along an axis": ((6,), {"axis": 1}, True),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", BYTES)
@pytest.mark.parametrize("op_type", ["QuantizeLinear", "DequantizeLinear"])
def test_as_arithmetic(
    execute: Any, kit: Any, rng: Any, op_type: str, dtype: Any, form: str
) -> None:
    shape, attributes, computed = FORMS[form]
    quantizes = op_type == "QuantizeLinear"
    real = rng.standard_normal((2, 6, 4), np.float32) * 3
    inputs = {"a": real if quantizes else integers(rng, dtype, real.shape)}
    parameters = {
        "b": np.asarray(rng.uniform(0.01, 0.06, shape), np.float32),
        "c": np.asarray(integers(rng, dtype, shape)),
    }
    if computed:
        inputs |= parameters
    outputs = {"y": dtype if quantizes else np.float32}
    constants = {} if computed else parameters
    run = run_operator(execute, kit, op_type, inputs, constants, outputs, "fp32", **attributes)
    assert run.error == 0


@pytest.mark.parametrize("dtype", BYTES)
def test_a_node_that_stands_alone_is_exact(execute: Any, kit: Any, rng: Any, dtype: Any) -> None:
    parameters = {"b": np.float32(0.03), "c": dtype(3)}
    real = rng.standard_normal((2, 6, 4), np.float32) * 3
    run = run_operator(
        execute, kit, "QuantizeLinear", {"a": real}, parameters, {"y": dtype}, "w8a8"
    )
    assert run.error == 0
    stored = integers(rng, dtype, real.shape)
    run = run_operator(
        execute, kit, "DequantizeLinear", {"a": stored}, parameters, {"y": np.float32}, "w8a8"
    )
    assert run.error == 0


def test_int32_is_dequantized(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.integers(-(10**6), 10**6, (3, 4)).astype(np.int32)
    constants = {"b": np.float32(0.03)}
    run = run_operator(
        execute, kit, "DequantizeLinear", {"a": x}, constants, {"y": np.float32}, "fp32"
    )
    assert run.error == 0
