"""MatMulNBits written in operators of the standard, against ONNX Runtime's own kernel."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgewise.graph import OrtSession, constant
from edgewise.graph.matmul_nbits import unpack_matmul_nbits
from edgewise.graph.prepare import settle

RNG = np.random.default_rng(5)


def _model(
    *,
    bits: int = 4,
    columns: int = 64,
    rows: int = 24,
    block: int = 32,
    zero_points: bool = False,
    bias: bool = False,
    shape: tuple[int, ...] = (3,),
    extra: dict[str, Any] | None = None,
) -> ir.Model:
    blocks = -(-columns // block)
    constants = {
        "B": RNG.integers(0, 256, (rows, blocks, block * bits // 8)).astype(np.uint8),
        "scales": RNG.uniform(0.1, 0.2, rows * blocks).astype(np.float32),
    }
    names = ["x", "B", "scales", "", "", ""]
    if zero_points:
        size = rows * -(-blocks * bits // 8)
        constants["zp"] = RNG.integers(0, 256, size).astype(np.uint8)
        names[3] = "zp"
    if bias:
        constants["bias"] = RNG.normal(size=rows).astype(np.float32)
        names[5] = "bias"
    constants |= extra or {}
    for position, name in ((4, "g_idx"),):
        names[position] = name if name in constants else ""
    while not names[-1]:
        names.pop()
    node = helper.make_node(
        "MatMulNBits", names, ["y"], domain="com.microsoft", name="product",
        K=columns, N=rows, bits=bits, block_size=block,
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (*shape, columns))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (*shape, rows))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(
    "form",
    [
        {},
        {"zero_points": True},
        {"zero_points": True, "columns": 96},  # an odd number of blocks: half a byte is padding
        {"bias": True, "shape": (2, 3)},
        {"columns": 80},  # a partial block
        {"block": 16, "zero_points": True, "bias": True},
        {"block": 128, "columns": 256},
    ],
    ids=str,
)
def test_it_computes_the_same(bits: int, form: dict[str, Any]) -> None:
    model = _model(bits=bits, **form)
    x = RNG.normal(size=(*form.get("shape", (3,)), form.get("columns", 64))).astype(np.float32)
    expected = OrtSession(model).run({"x": x})["y"]
    assert unpack_matmul_nbits(model)
    settle(model)
    kinds = [node.op_type for node in model.graph]
    assert kinds == ["DequantizeLinear", "MatMul"] + ["Add"] * bool(form.get("bias"))
    found = OrtSession(model).run({"x": x})["y"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("bits", "zero_points", "dtype"),
    [(4, False, "int4"), (8, False, "int8"), (4, True, "uint4"), (8, True, "uint8")],
)
def test_integers_without_zero_points_are_signed(bits: int, zero_points: bool, dtype: str) -> None:
    model = _model(bits=bits, zero_points=zero_points)
    unpack_matmul_nbits(model)
    (node,) = (node for node in model.graph if node.op_type == "DequantizeLinear")
    assert len(node.inputs) == 2 + zero_points
    stored = constant(node.inputs[0])
    assert stored is not None and stored.dtype == np.dtype(getattr(ml_dtypes, dtype, dtype))
    assert stored.shape == (64, 24)


def test_zero_points_in_the_middle_are_none() -> None:
    model = _model(zero_points=True)
    value = model.graph.initializers["zp"]
    value.const_value = ir.tensor(np.full(24, 0x88, np.uint8))
    unpack_matmul_nbits(model)
    (node,) = (node for node in model.graph if node.op_type == "DequantizeLinear")
    assert len(node.inputs) == 2


def test_permuted_columns_stay() -> None:
    model = _model(extra={"g_idx": np.arange(64, dtype=np.int32) // 32})
    assert not unpack_matmul_nbits(model)
    assert [node.op_type for node in model.graph] == ["MatMulNBits"]


def test_models_without_it_are_left_alone() -> None:
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (3,))
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (3,))
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    assert not unpack_matmul_nbits(ir.from_proto(helper.make_model(graph)))
