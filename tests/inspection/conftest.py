"""Small ONNX graphs for figures that can be computed by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.graph import save

Array = np.ndarray[Any, Any]
Make = Callable[..., ir.Model]


def graph_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str],
    constants: Mapping[str, Array] | None = None,
    *,
    opset: int = 21,
    domains: Sequence[str] = (),
    dtypes: Mapping[str, int] | None = None,
) -> ir.Model:
    """A model; outputs have no shapes but those that inference finds."""
    kinds = dict(dtypes or {})
    made = helper.make_graph(
        list(nodes),
        "graph",
        [
            helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), list(shape))
            for name, shape in inputs.items()
        ],
        [
            helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), None)
            for name in outputs
        ],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)]
    return ir.from_proto(helper.make_model(made, opset_imports=opsets, ir_version=10))


@pytest.fixture(scope="session")
def make_graph() -> Make:
    return graph_of


def floats(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def small_cnn() -> ir.Model:
    """image (batch, 3, 8, 8) -> Conv 4 of 3x3 -> Relu -> + -> mean -> Gemm to 5."""
    return graph_of(
        [
            helper.make_node("Conv", ["image", "w", "b"], ["c"], "conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"], "relu"),
            helper.make_node("Add", ["r", "r"], ["twice"], "add"),
            helper.make_node("GlobalAveragePool", ["twice"], ["mean"], "mean"),
            helper.make_node("Flatten", ["mean"], ["flat"], "flatten"),
            helper.make_node("Gemm", ["flat", "g"], ["scores"], "gemm", transB=1),
        ],
        {"image": ["batch", 3, 8, 8]},
        ["scores"],
        {"w": floats(4, 3, 3, 3), "b": floats(4), "g": floats(5, 4)},
    )


@pytest.fixture(scope="session")
def cnn_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inspection") / "cnn.onnx"
    save(small_cnn(), path)
    return path


@pytest.fixture(scope="session")
def matrix_loop() -> onnx.NodeProto:
    """A Loop over `n`; its body multiplies a carried 1 x 4, at first `x0`, by the matrix `w` of
    around it."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["z"], "product"),
            helper.make_node("Identity", ["go"], ["on"], "on"),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 4]),
        ],
    )
    return helper.make_node("Loop", ["n", "", "x0"], ["y"], "loop", body=body)
