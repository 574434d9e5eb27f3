"""Operators on bits against numpy, bit by bit, through the saved package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper

from edgewise.errors import UnsupportedOperator
from edgewise.targets.apple import TARGET

Array = npt.NDArray[Any]
DTYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32]
BITWISE = {
    "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
}


@pytest.fixture
def run(make: Any, tmp_path: Path) -> Any:
    def run_nodes(
        nodes: list[Any], feeds: dict[str, Array], constants: dict[str, Array] | None = None
    ) -> dict[str, Array]:
        outputs = [node.output[0] for node in nodes]
        model = make.build_model(nodes, feeds, outputs, constants, 26 if _is_new(nodes) else 21)
        artifact = TARGET.emit(model, tmp_path / "out", "fp16")
        return dict(TARGET.open(artifact.path).run(feeds))

    return run_nodes


def _is_new(nodes: list[Any]) -> bool:
    return any(node.op_type == "BitCast" for node in nodes)


def patterns(seed: int, dtype: Any, shape: tuple[int, ...]) -> Array:
    limits = np.iinfo(dtype)
    made = np.random.default_rng(seed).integers(limits.min, limits.max, shape, dtype, endpoint=True)
    made.reshape(-1)[:3] = limits.min, limits.max, 0
    return np.asarray(made)


@pytest.mark.parametrize("shapes", [((3, 5), (5,)), ((2, 1, 3, 1, 2), (3, 4, 1))])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bitwise(run: Any, dtype: Any, shapes: Any) -> None:
    a, b = patterns(1, dtype, shapes[0]), patterns(2, dtype, shapes[1])
    nodes = [helper.make_node(op_type, ["a", "b"], [op_type]) for op_type in BITWISE]
    nodes.append(helper.make_node("BitwiseNot", ["a"], ["not"]))
    results = run(nodes, {"a": a, "b": b})
    for op_type, function in BITWISE.items():
        np.testing.assert_array_equal(results[op_type], function(a, b), err_msg=op_type)
    np.testing.assert_array_equal(results["not"], ~a)


@pytest.mark.parametrize("mask", [1, 255, 6, -1, 2**30 - 1])
def test_constant_masks(run: Any, mask: int) -> None:
    a = patterns(3, np.int32, (9,))
    nodes = [
        helper.make_node("BitwiseAnd", ["a", "m"], ["y"]),
        helper.make_node("BitwiseAnd", ["m", "a"], ["z"]),
    ]
    results = run(nodes, {"a": a}, {"m": np.array(mask, np.int32)})
    np.testing.assert_array_equal(results["y"], a & np.int32(mask))
    np.testing.assert_array_equal(results["z"], a & np.int32(mask))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_shifts(run: Any, dtype: Any) -> None:
    bits = np.dtype(dtype).itemsize * 8
    a = patterns(4, dtype, (2, bits + 2))
    steps = np.arange(bits + 2).astype(dtype)
    nodes = [
        helper.make_node("BitShift", ["a", "s"], [direction], direction=direction)
        for direction in ("LEFT", "RIGHT")
    ]
    results = run(nodes, {"a": a, "s": steps})
    wide = a.astype(np.int64)
    np.testing.assert_array_equal(results["LEFT"], (wide << steps).astype(dtype))
    np.testing.assert_array_equal(results["RIGHT"], (wide >> steps).astype(dtype))


@pytest.mark.parametrize(("given", "wanted"), [(np.int8, np.uint8), (np.uint16, np.int16)])
def test_bits_read_as_another_type(run: Any, given: Any, wanted: Any) -> None:
    a = patterns(5, given, (9,))
    code = helper.np_dtype_to_tensor_dtype(np.dtype(wanted))
    results = run([helper.make_node("BitCast", ["a"], ["y"], to=code)], {"a": a})
    np.testing.assert_array_equal(results["y"], a.view(wanted))


def test_bits_of_floats_are_refused(run: Any) -> None:
    node = helper.make_node("BitCast", ["a"], ["y"], to=TensorProto.INT32)
    with pytest.raises(UnsupportedOperator, match="cannot read the bits of float32"):
        run([node], {"a": np.ones(3, np.float32)})
