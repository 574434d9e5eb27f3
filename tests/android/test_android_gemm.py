"""Gemm, MatMul and normalizations against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


@pytest.mark.parametrize("transposed_a", [0, 1])
@pytest.mark.parametrize("transposed_b", [0, 1])
@pytest.mark.parametrize("alpha_beta", [(1.0, 1.0), (0.5, 2.0)])
@pytest.mark.parametrize("bias", [None, (5,), (1, 5), (1,), (), (3, 1), (3, 5)])
def test_gemm(
    execute: Any,
    kit: Any,
    rng: Any,
    transposed_a: int,
    transposed_b: int,
    alpha_beta: Any,
    bias: Any,
) -> None:
    x = rng.standard_normal((8, 3) if transposed_a else (3, 8), np.float32)
    constants = {"w": rng.standard_normal((5, 8) if transposed_b else (8, 5), np.float32)}
    if bias is not None:
        constants["b"] = np.asarray(rng.standard_normal(bias), np.float32)
    layer = kit.node(
        "Gemm", ["x", *constants], ["y"], transA=transposed_a, transB=transposed_b,
        alpha=alpha_beta[0], beta=alpha_beta[1],
    )  # fmt: skip
    run = execute(kit.model([layer], {"x": x}, {"y": np.float32}, constants), {"x": x})
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize("transposed_b", [0, 1])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_gemm_int8(
    execute: Any, kit: Any, rng: Any, transposed_b: int, bias: bool, alpha: float
) -> None:
    x = rng.standard_normal((3, 8), np.float32)
    axis = 0 if transposed_b else 1
    integers = rng.integers(-127, 128, (5, 8) if transposed_b else (8, 5)).astype(np.int8)
    scales = rng.uniform(0.002, 0.01, 5).astype(np.float32)
    constants = {"b": rng.standard_normal(5, np.float32)} if bias else {}
    layer = kit.node("Gemm", ["x", "w", *constants], ["y"], transB=transposed_b, alpha=alpha)
    source = kit.int8_model(
        layer, {"x": x}, (0.03, 7), weights={"w": (integers, scales, axis)}, constants=constants
    )
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert run.rules() == []


def test_gemm_with_a_computed_right_side(execute: Any, kit: Any, rng: Any) -> None:
    feeds = {
        "x": rng.standard_normal((3, 8), np.float32),
        "w": rng.standard_normal((5, 8), np.float32),
        "b": rng.standard_normal(5, np.float32),
    }
    layer = kit.node("Gemm", ["x", "w", "b"], ["y"], transB=1, alpha=2.0, beta=0.5)
    run = execute(kit.model([layer], feeds, {"y": np.float32}), feeds)
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize(
    ("left", "right"),
    [((3, 8), (8, 5)), ((2, 3, 8), (2, 8, 5)), ((2, 2, 3, 8), (8, 5)), ((2, 3, 8), (1, 8, 5)),
     ((8,), (8, 5)), ((3, 8), (8,)), ((2, 3, 8), (8,))],
)  # fmt: skip
@pytest.mark.parametrize("constant", ["", "left", "right"])
def test_matmul(execute: Any, kit: Any, rng: Any, left: Any, right: Any, constant: str) -> None:
    arrays = {
        "a": rng.standard_normal(left, np.float32),
        "b": rng.standard_normal(right, np.float32),
    }
    fixed = {"left": "a", "right": "b"}.get(constant)
    constants = {fixed: arrays.pop(fixed)} if fixed else {}
    layer = kit.node("MatMul", ["a", "b"], ["y"])
    run = execute(kit.model([layer], arrays, {"y": np.float32}, constants), arrays)
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize("shape", [(6, 6), (2, 6, 6), (1, 4, 6, 6)])
def test_matmul_of_a_tensor_with_itself(execute: Any, kit: Any, rng: Any, shape: Any) -> None:
    x = rng.standard_normal(shape, np.float32)
    square = kit.node("MatMul", ["x", "x"], ["y"])
    run = execute(kit.model([square], {"x": x}, {"y": np.float32}, {}), {"x": x})
    assert run.error <= kit.float_tolerance


def test_matmul_int8(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.standard_normal((2, 3, 8), np.float32)
    integers = rng.integers(-127, 128, (8, 5)).astype(np.int8)
    scales = rng.uniform(0.002, 0.01, 5).astype(np.float32)
    layer = kit.node("MatMul", ["x", "w"], ["y"])
    source = kit.int8_model(layer, {"x": x}, (0.03, 7), weights={"w": (integers, scales, 1)})
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert run.rules() == []


def test_matmul_of_two_activations_int8(execute: Any, kit: Any, rng: Any) -> None:
    feeds = {
        "a": rng.standard_normal((2, 3, 8), np.float32),
        "b": rng.standard_normal((2, 8, 5), np.float32),
    }
    source = kit.int8_model(kit.node("MatMul", ["a", "b"], ["y"]), feeds, (0.06, 7))
    run = execute(source, feeds, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert "android/float-island" not in run.rules()


def test_a_transposed_operand_is_absorbed(execute: Any, kit: Any, rng: Any) -> None:
    feeds = {name: rng.standard_normal((2, 3, 8), np.float32) for name in "ab"}
    nodes = [
        kit.node("Transpose", ["b"], ["t"], perm=[0, 2, 1]),
        kit.node("MatMul", ["a", "t"], ["y"]),
    ]
    source = kit.model(nodes, feeds, {"y": np.float32})
    assert kit.kinds(source) == ["BATCH_MATMUL"]
    assert execute(source, feeds).error <= kit.float_tolerance


@pytest.mark.parametrize("op_type", ["BatchNormalization", "InstanceNormalization"])
@pytest.mark.parametrize("shape", [(1, 4, 5, 6), (2, 4, 7)])
def test_channel_normalization(
    execute: Any, kit: Any, rng: Any, op_type: str, shape: tuple[int, ...]
) -> None:
    x = rng.standard_normal(shape, np.float32)
    names = ["s", "b", "m", "v"][: 4 if op_type.startswith("Batch") else 2]
    constants = {name: rng.uniform(0.5, 1.5, 4).astype(np.float32) for name in names}
    layer = kit.node(op_type, ["x", *names], ["y"], epsilon=1e-3)
    run = execute(kit.model([layer], {"x": x}, {"y": np.float32}, constants), {"x": x})
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize("axis", [-1, 1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_normalization(execute: Any, kit: Any, rng: Any, axis: int, bias: bool) -> None:
    x = rng.standard_normal((1, 4, 5, 6), np.float32)
    shape = x.shape[axis % 4 :]
    constants = {name: rng.standard_normal(shape, np.float32) for name in ("sb" if bias else "s")}
    layer = kit.node("LayerNormalization", ["x", *constants], ["y"], axis=axis)
    run = execute(kit.model([layer], {"x": x}, {"y": np.float32}, constants), {"x": x})
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize("size", [3, 5])
def test_local_response_normalization(execute: Any, kit: Any, rng: Any, size: int) -> None:
    x = rng.standard_normal((1, 8, 5, 6), np.float32) * 3
    layer = kit.node("LRN", ["x"], ["y"], size=size, alpha=0.3, beta=0.7, bias=2.0)
    run = execute(kit.model([layer], {"x": x}, {"y": np.float32}), {"x": x})
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize("precision", ["fp32", "w8a8"])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((1, 3, 2, 2, 2, 3), (1, 3, 2, 2, 3, 4)),
        ((1, 3, 2, 1, 2, 3), (2, 1, 1, 2, 3, 4)),
        ((3, 2, 1, 2, 3), (2, 2, 3, 2, 2, 3, 4)),
        ((2, 3), (2, 1, 2, 2, 2, 2, 3, 4)),
    ],
)
def test_products_of_more_axes_than_the_kernel_takes(
    execute: Any, kit: Any, rng: Any, left: Any, right: Any, precision: str
) -> None:
    feeds = {
        "x": rng.standard_normal(left, np.float32),
        "y": rng.standard_normal(right, np.float32),
    }
    source = kit.model([kit.node("MatMul", ["x", "y"], ["z"])], feeds, {"z": np.float32})
    if precision == "fp32":
        assert execute(source, feeds).error <= kit.float_tolerance
        return
    run = execute(kit.calibrated(source, [feeds], precision), feeds, precision)
    assert run.lsb <= kit.int8_tolerance
