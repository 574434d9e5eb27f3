"""w8 and w4: products that read integer weights packed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.calibration import quantize_weights
from edgewise.errors import ModelError, UsageError
from edgewise.graph import OrtSession, load, prepare
from edgewise.targets import EmitOptions
from edgewise.targets.arm import TARGET
from edgewise.targets.arm.packed_products import pack_products

WIDTH = 100


def products() -> ir.Model:
    """A MatMul, a Gemm that turns its weight around and adds a vector, and a Gemm that cannot be
    packed, for it scales."""
    random = np.random.default_rng(0)
    arrays = {
        "w": random.normal(size=(WIDTH, 48)).astype(np.float32) / 10,
        "v": random.normal(size=(40, 48)).astype(np.float32) / 10,
        "b": random.normal(size=40).astype(np.float32),
        "u": random.normal(size=(40, 16)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        helper.make_node("Gemm", ["h", "v", "b"], ["g"], name="second", transB=1),
        helper.make_node("Gemm", ["g", "u"], ["y"], name="third"),
    ]
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 16])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return prepare(ir.from_proto(proto))


def rows(count: int = 8) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).normal(size=(count, WIDTH)).astype(np.float32)}


def error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def emitted(model: ir.Model, folder: Path, precision: str, **options: Any) -> tuple[Any, Any]:
    artifact = TARGET.emit(model, folder, precision, options=EmitOptions(options=options))
    session = TARGET.open(artifact)
    outputs = session.run(rows())["y"]
    session.close()
    return artifact, outputs


def test_w8_multiplies_integers_on_every_core(tmp_path: Path) -> None:
    qdq = quantize_weights(products(), TARGET.scheme("w8")).model
    artifact, found = emitted(qdq, tmp_path, "w8")
    kinds = Counter(node.op_type for node in load(artifact.path).graph)
    assert kinds == {"DynamicQuantizeMatMul": 3}
    assert error(found, OrtSession(qdq).run(rows())["y"]) < 0.02
    assert artifact.size_bytes < 0.5 * sum(
        v.const_value.nbytes for v in products().graph.initializers.values() if v.const_value
    )


@pytest.mark.parametrize("block", [0, 16, 32, 64, 128, 256])
@pytest.mark.parametrize(("level", "limit"), [(0, 1e-6), (4, 0.03)])
def test_w4_in_blocks(block: int, level: int, limit: float, tmp_path: Path) -> None:
    options = {"block_size": block, "accuracy_level": level}
    qdq = quantize_weights(products(), TARGET.scheme("w4", {"block_size": block})).model
    artifact, found = emitted(qdq, tmp_path, "w4", **options)
    nodes = [n for n in load(artifact.path).graph if n.op_type == "MatMulNBits"]
    assert len(nodes) == 3
    assert {n.attributes["accuracy_level"].value for n in nodes} == {level}
    assert error(found, OrtSession(qdq).run(rows())["y"]) < limit
    assert {key: artifact.manifest.options[key] for key in options} == options


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, ml_dtypes.int4, ml_dtypes.uint4])
@pytest.mark.parametrize("block", [0, 32])
def test_weights_of_other_tools(dtype: Any, block: int, tmp_path: Path) -> None:
    """Any zero point, per channel or in blocks."""
    random = np.random.default_rng(2)
    info = ml_dtypes.iinfo(dtype)
    shape = (96 // block, 24) if block else (24,)
    scale = random.uniform(0.001, 0.01, shape).astype(np.float32)
    stored = random.integers(info.min, info.max + 1, (96, 24)).astype(dtype)
    zero = random.integers(info.min, info.max + 1, shape).astype(dtype)
    values = [
        ir.Value(name=name, const_value=ir.tensor(array, name=name))
        for name, array in (("q", stored), ("s", scale), ("z", zero))
    ]
    x = ir.val("x", ir.DataType.FLOAT, ["batch", 96])
    attributes = {"axis": 0, "block_size": block} if block else {"axis": 1}
    dequantize = ir.node("DequantizeLinear", values, attributes, name="dequantize")
    product = ir.node("MatMul", [x, dequantize.outputs[0]], name="product")
    y = product.outputs[0]
    y.name, y.type = "y", ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        [x], [y], nodes=[dequantize, product], initializers=values, opset_imports={"": 21}
    )
    model = prepare(ir.Model(graph, ir_version=10))
    feeds = {"x": random.normal(size=(3, 96)).astype(np.float32)}
    expected = OrtSession(model).run(feeds)["y"]
    precision = "w8" if info.bits == 8 else "w4"
    options = EmitOptions(options={"accuracy_level": 0})
    artifact = TARGET.emit(model, tmp_path, precision, options=options)
    assert [n.op_type for n in load(artifact.path).graph] == ["MatMulNBits"]
    assert error(TARGET.open(artifact).run(feeds)["y"], expected) < 1e-5


def test_packed_products_are_packed_again(tmp_path: Path) -> None:
    model = quantize_weights(products(), TARGET.scheme("w4")).model
    first = TARGET.emit(model, tmp_path / "1", "w4")
    again = TARGET.emit(first.path, tmp_path / "2", "w4")
    found, expected = (TARGET.open(a).run(rows())["y"] for a in (again, first))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "attributes", [{"alpha": 2.0}, {"transA": 1}, {"beta": 0.5}], ids=lambda given: str(given)
)
def test_other_products_keep_their_weight_behind_dequantize(attributes: dict[str, Any]) -> None:
    x = ir.val("x", ir.DataType.FLOAT, [16, 16])
    values = [
        ir.Value(name=name, const_value=ir.tensor(array, name=name))
        for name, array in (
            ("q", np.ones((16, 16), np.int8)),
            ("s", np.ones(16, np.float32)),
            ("b", np.ones(16, np.float32)),
        )
    ]
    dequantize = ir.node("DequantizeLinear", values[:2], {"axis": 1})
    product = ir.node("Gemm", [x, dequantize.outputs[0], values[2]], attributes)
    nodes = [dequantize, product]
    graph = ir.Graph([x], product.outputs, nodes=nodes, initializers=values, opset_imports={"": 21})
    assert not pack_products(ir.Model(graph, ir_version=10), 4)


def test_options_of_other_precisions(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"option 'block_size' is 24\. Allowed"):
        TARGET.scheme("w4", {"block_size": 24})
    with pytest.raises(UsageError, match="'block_size' has no meaning in precision w8"):
        TARGET.check_options({"block_size": 32}, "w8")
    with pytest.raises(UsageError, match=r"option 'accuracy_level' is 1\. Allowed"):
        TARGET.check_options({"accuracy_level": 1}, "w4")
    with pytest.raises(ModelError, match="needs a quantized model"):
        TARGET.emit(products(), tmp_path / "out", "w8")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("precision", "limit"), [("w8", 0.02), ("w4", 0.03)])
def test_old_and_new_cores(
    precision: str, limit: float, tmp_path: Path, cores: tuple[str, str]
) -> None:
    """A Cortex-A53 has no dot products; w4 is then computed in float."""
    qdq = quantize_weights(products(), TARGET.scheme(precision)).model
    artifact, here = emitted(qdq, tmp_path, precision)
    expected = OrtSession(qdq).run(rows())["y"]
    for core in cores:
        session = TARGET.open(artifact, core)
        found = session.run(rows())["y"]
        session.close()
        assert error(found, expected) < limit, core
        assert error(found, here) < limit, core
    onnx.checker.check_model(onnx.load(artifact.path))
