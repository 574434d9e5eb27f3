"""Lazy permutations: reshapes in memory, and the networks that need no transpose."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.targets.android.layout import Value, reshape_orders
from edgewise.targets.android.model import Tensor


def _value(array: Any, perm: tuple[int, ...]) -> tuple[Value, Any]:
    """A value over a tensor of that memory order, and the memory."""
    memory = np.ascontiguousarray(np.transpose(array, perm))
    return Value(Tensor(memory.shape, memory.dtype), perm), memory


@st.composite
def _reshapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """A shape, a memory order, and another shape of as many elements."""
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=5)))
    perm = tuple(draw(st.permutations(range(len(shape)))))
    left, target = math.prod(shape), []
    while left > 1 and len(target) < 5:
        target.append(draw(st.sampled_from([d for d in range(1, left + 1) if left % d == 0])))
        left //= target[-1]
    return shape, perm, (*target, left)


@given(_reshapes())
def test_reshape_orders_reshape_in_memory(
    case: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
) -> None:
    shape, perm, target = case
    array = np.arange(math.prod(shape)).reshape(shape)
    value, memory = _value(array, perm)
    before, after = reshape_orders(value, target)
    moved = np.transpose(memory, [perm.index(axis) for axis in before])
    result = moved.reshape([target[axis] for axis in after])
    assert np.array_equal(np.transpose(result, np.argsort(after)), array.reshape(target))


@pytest.mark.parametrize(
    ("target", "after"),
    [((1, 6, 20), (0, 2, 1)), ((1, 2, 3, 4, 5), (0, 3, 4, 1, 2)), ((6, 4, 5), (1, 2, 0))],
)
def test_an_image_is_reshaped_in_place(target: tuple[int, ...], after: tuple[int, ...]) -> None:
    value = Value(Tensor((1, 4, 5, 6), np.dtype(np.float32)), (0, 2, 3, 1))
    assert reshape_orders(value, target) == (value.perm, after)


def test_transposed_swaps_names_not_memory() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    value, memory = _value(array, (0, 2, 1))
    turned = value.transposed((2, 0, 1))
    assert turned.tensor is value.tensor
    assert turned.shape == (4, 2, 3)
    found = np.transpose(memory, np.argsort(turned.perm))
    assert np.array_equal(found, np.transpose(array, (2, 0, 1)))


def test_patches_to_tokens_need_no_transpose(execute: Any, kit: Any, rng: Any) -> None:
    """The head of a vision transformer: convolution, flatten, transpose, product."""
    x = rng.standard_normal((1, 3, 8, 8), np.float32)
    nodes = [
        kit.node("Conv", ["x", "w"], ["c"], strides=[2, 2]),
        kit.node("Reshape", ["c", "s"], ["r"]),
        kit.node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
        kit.node("MatMul", ["t", "m"], ["y"]),
    ]
    constants = {
        "w": rng.standard_normal((6, 3, 2, 2), np.float32),
        "s": np.array([1, 6, 16]),
        "m": rng.standard_normal((6, 5), np.float32),
    }
    source = kit.model(nodes, {"x": x}, {"y": np.float32}, constants)
    assert kit.kinds(source) == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    assert execute(source, {"x": x}).error <= kit.float_tolerance * 10


def test_a_channel_shuffle_costs_one_transpose(
    execute: Any, kit: Any, rng: Any, quantize: Any
) -> None:
    x = rng.standard_normal((1, 6, 4, 5), np.float32)
    nodes = [
        kit.node("Conv", ["x", "w"], ["c"], group=2),
        kit.node("Reshape", ["c", "split"], ["r"]),
        kit.node("Transpose", ["r"], ["t"], perm=[0, 2, 1, 3, 4]),
        kit.node("Reshape", ["t", "merge"], ["m"]),
        kit.node("Conv", ["m", "w"], ["y"], group=2),
    ]
    constants = {
        "w": rng.standard_normal((6, 3, 1, 1), np.float32),
        "split": np.array([1, 2, 3, 4, 5]),
        "merge": np.array([1, 6, 4, 5]),
    }
    source = kit.model(nodes, {"x": x}, {"y": np.float32}, constants)
    expected = ["CONV_2D", "RESHAPE", "TRANSPOSE", "RESHAPE", "CONV_2D"]
    assert kit.kinds(source) == expected
    assert execute(source, {"x": x}).error <= kit.float_tolerance * 10
    qdq = quantize(source, {"x": x})
    assert kit.kinds(qdq) == expected
    assert execute(qdq, {"x": x}, "w8a8").lsb <= kit.int8_tolerance


def test_a_sum_takes_the_order_of_its_other_operand(execute: Any, kit: Any, rng: Any) -> None:
    """The transposed operand is brought to ONNX order once, rather than everything after it."""
    x = rng.normal(0, 1, (2, 3, 4)).astype(np.float32)
    layers, total = [kit.node("Transpose", ["x"], ["t"], perm=[2, 1, 0])], "t"
    for index in range(3):
        product, new = f"p{index}", "y" if index == 2 else f"s{index}"
        layers.append(kit.node("MatMul", [total, "w"], [product]))
        layers.append(kit.node("Add", [total, product], [new]))
        total = new
    constants = {"w": rng.normal(0, 1, (2, 2)).astype(np.float32)}
    source = kit.model(layers, {"x": x}, {"y": np.float32}, constants)
    assert execute(source, {"x": x}).error < kit.float_tolerance
    assert kit.kinds(source).count("TRANSPOSE") <= 2


def test_an_image_stays_one_beside_an_operand_in_onnx_order(
    execute: Any, kit: Any, rng: Any
) -> None:
    feeds = {
        "x": rng.normal(0, 1, (1, 3, 6, 6)).astype(np.float32),
        "m": rng.normal(0, 1, (1, 36, 3)).astype(np.float32),
    }
    layers = [
        kit.node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        kit.node("Reshape", ["m", "shape"], ["r"]),
        kit.node("Add", ["r", "c"], ["s"]),
        kit.node("Conv", ["s", "w"], ["y"], pads=[1, 1, 1, 1]),
    ]
    constants = {
        "w": rng.normal(0, 1, (3, 3, 3, 3)).astype(np.float32),
        "shape": np.array([1, 3, 6, 6]),
    }
    source = kit.model(layers, feeds, {"y": np.float32}, constants)
    assert execute(source, feeds).error < kit.float_tolerance * 10
    assert kit.kinds(source).count("TRANSPOSE") == 1
