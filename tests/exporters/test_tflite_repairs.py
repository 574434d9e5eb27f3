"""Where tf2onnx reads a file wrongly, or not at all: each case of `exporters.tflite.repair`.

`export` itself compares with LiteRT, and fails where the two differ.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tflite_models import converted, edited, operator

from edgewise.exporters import ExportResult, export
from edgewise.graph import constant

tf = pytest.importorskip("tensorflow")
logging.getLogger("tensorflow").setLevel(logging.ERROR)
rng = np.random.default_rng(3)


def weights(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.fixture
def exported(tmp_path: Path) -> Any:
    def run(content: bytes) -> ExportResult:
        path = tmp_path / "model.tflite"
        path.write_bytes(content)
        result = export(path)
        assert result.parity.max_rel_error is not None
        assert result.parity.max_rel_error < 1e-5
        return result

    return run


def ops(result: ExportResult) -> list[str]:
    return sorted(node.op_type for node in result.model.graph)


def test_a_flattened_product_keeps_its_bias(exported: Any) -> None:
    bias = np.float32([100, 200, 300, 400, 500])
    content = converted(
        lambda x: tf.matmul(tf.reshape(x, [6, 8]), weights(8, 5)) + bias, {"x": (2, 3, 8)}
    )
    result = exported(content)
    (product,) = (node for node in result.model.graph if node.op_type == "Gemm")
    np.testing.assert_array_equal(constant(product.inputs[2]), bias)


def test_softmax_with_beta(exported: Any) -> None:
    content = converted(lambda x: tf.nn.softmax(x), {"x": (2, 7)})

    def sharpen(model: Any) -> None:
        operator(model, "SOFTMAX").builtinOptions.beta = 3.0

    plain, sharp = exported(content), exported(edited(content, sharpen))
    assert ops(plain) == ["Softmax"]
    assert ops(sharp) == ["Mul", "Softmax"]


def test_tensors_of_one_name_are_told_apart(exported: Any) -> None:
    content = converted(lambda x: tf.nn.relu(x @ weights(8, 8)) @ weights(8, 3), {"x": (2, 8)})

    def confuse(model: Any) -> None:
        graph = model.subgraphs[0]
        for index, tensor in enumerate(graph.tensors):
            if index not in (*graph.inputs, *graph.outputs):
                tensor.name = "same" if index % 2 else ""

    exported(edited(content, confuse))


def test_limits_of_a_sum(exported: Any) -> None:
    content = converted(lambda x: x + weights(7), {"x": (2, 7)})

    def limit(model: Any) -> None:
        options = operator(model, "ADD").builtinOptions
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU_N1_TO_1

    assert ops(exported(edited(content, limit))) == ["Add", "Clip"]


@pytest.mark.parametrize("approximate", [False, True])
def test_gelu_is_one_node(exported: Any, approximate: bool) -> None:
    content = converted(lambda x: tf.nn.relu(x), {"x": (2, 7)})

    def become_gelu(model: Any) -> None:
        found = operator(model, "RELU")
        found.builtinOptions = schema.GeluOptionsT()
        found.builtinOptions.approximate = approximate
        found.builtinOptionsType = schema.BuiltinOptions.GeluOptions
        code = model.operatorCodes[found.opcodeIndex]
        code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.GELU, 127

    assert ops(exported(edited(content, become_gelu))) == ["Gelu"]
