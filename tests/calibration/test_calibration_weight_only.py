"""Integer weights behind DequantizeLinear: which ones, with which scales, and what is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgewise.calibration import NumberFormat, Scheme, quantize_weights
from edgewise.calibration.parameters import symmetric_scales
from edgewise.calibration.quantize_for import quantize_for
from edgewise.errors import ModelError, UnsupportedPrecision, UsageError
from edgewise.graph import OrtSession, constant, quantization_of

INT8 = NumberFormat("int8", symmetric=True, granularity="per_channel", narrow_range=True)
INT4 = replace(INT8, dtype="int4")
BLOCKS = replace(INT4, granularity="per_block", block_size=32, scale_dtype="bfloat16")


def _scheme(number: NumberFormat) -> Scheme:
    return Scheme("android", "w8", weight=number, quantized_ops=frozenset({"Gemm", "MatMul"}))


def _model(nodes: list[Any], constants: Mapping[str, Any], shape: tuple[int, ...]) -> ir.Model:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def _weights(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _matmul(weights: Any) -> ir.Model:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    return _model([node], {"w": weights}, (3, weights.shape[0]))


def _stored(model: ir.Model) -> tuple[Any, Any]:
    """The integers and the quantization of the only weight."""
    (node,) = (node for node in model.graph if node.op_type == "DequantizeLinear")
    return constant(node.inputs[0]), quantization_of(node)


def test_int8_scales_are_the_largest_magnitude_of_each_output() -> None:
    weights = _weights(64, 40)
    result = quantize_weights(_matmul(weights), _scheme(INT8))
    integers, quantization = _stored(result.model)
    scales = (np.abs(weights).max(axis=0) / 127).astype(np.float32)
    np.testing.assert_array_equal(quantization.scale, scales)
    np.testing.assert_array_equal(integers, np.rint(weights / scales).astype(np.int8))
    assert quantization.axis == 1 and not quantization.zero_point.any()
    assert integers.dtype == np.int8 and np.abs(integers.astype(int)).max() == 127
    assert result.findings == ()


@pytest.mark.parametrize("transposed", [False, True])
def test_int4_blocks_run_along_the_inputs(transposed: bool) -> None:
    weights = _weights(64, 40)
    stored = weights.T.copy() if transposed else weights
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="layer", transB=int(transposed))
    result = quantize_weights(_model([node], {"w": stored}, (3, 64)), _scheme(BLOCKS)).model
    integers, quantization = _stored(result)
    assert integers.dtype == ml_dtypes.int4
    assert (quantization.axis, quantization.block_size) == (int(transposed), 32)
    rows = quantization.scale if transposed else quantization.scale.T
    assert rows.shape == (40, 2)
    least = np.abs(weights.T.reshape(40, 2, 32)).max(axis=2) / 7
    assert (rows >= least).all() and (rows <= least * (1 + 2**-7)).all()
    np.testing.assert_array_equal(rows, rows.astype(ml_dtypes.bfloat16).astype(np.float32))
    np.testing.assert_array_equal(rows, rows.astype(np.float16).astype(np.float32))
    real = quantization.dequantize(integers)
    spread = np.repeat(quantization.scale, 32, axis=int(transposed))
    assert (np.abs(real - stored) <= spread / 2 * 1.0001).all()
    assert np.abs(integers.astype(int)).max() <= 7


def test_the_model_computes_with_the_dequantized_weights() -> None:
    weights = _weights(64, 40)
    result = quantize_weights(_matmul(weights), _scheme(BLOCKS)).model
    x = _weights(3, 64, seed=1)
    integers, quantization = _stored(result)
    found = OrtSession(result).run({"x": x})["y"]
    np.testing.assert_allclose(found, x @ quantization.dequantize(integers), rtol=0, atol=1e-5)


def test_a_partial_block_falls_back_to_one_scale_per_channel() -> None:
    result = quantize_weights(_matmul(_weights(48, 40)), _scheme(BLOCKS))
    _, quantization = _stored(result.model)
    assert (quantization.axis, quantization.block_size) == (1, 0)
    (finding,) = result.findings
    assert (finding.rule, finding.node) == ("calibration/block-fallback", "product")
    assert "48 values are no multiple of the block size 32" in finding.message


def test_blocks_beyond_float16_fall_back() -> None:
    result = quantize_weights(_matmul(_weights(64, 40) * 1e7), _scheme(BLOCKS))
    _, quantization = _stored(result.model)
    assert quantization.block_size == 0 and np.isfinite(quantization.scale).all()
    assert "bfloat16 does not hold its scales" in result.findings[0].message


def test_factors_of_gemm_go_into_the_weights() -> None:
    weights, bias = _weights(40, 64), _weights(40)
    node = helper.make_node(
        "Gemm", ["x", "w", "b"], ["y"], name="layer", transB=1, alpha=0.5, beta=3.0
    )
    model = _model([node], {"w": weights, "b": bias}, (3, 64))
    result = quantize_weights(model, _scheme(INT8)).model
    _, quantization = _stored(result)
    np.testing.assert_array_equal(quantization.scale, symmetric_scales(
        np.abs(weights * np.float32(0.5)).max(axis=1), INT8
    ))  # fmt: skip
    x = _weights(3, 64, seed=1)
    before, after = (OrtSession(m).run({"x": x})["y"] for m in (model, result))
    assert np.abs(before - after).max() < 0.02 * np.abs(before).max()


def test_shared_weights_are_stored_once_and_float_readers_keep_theirs() -> None:
    nodes = [
        helper.make_node("Gather", ["w", "i"], ["e"], name="embedding", axis=0),
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("MatMul", ["a", "w"], ["b"], name="second"),
        helper.make_node("Add", ["b", "e"], ["y"], name="sum"),
    ]
    model = _model(nodes, {"w": _weights(64, 64), "i": np.array([3])}, (1, 64))
    result = quantize_weights(model, _scheme(INT8))
    dequantizers = [node for node in result.model.graph if node.op_type == "DequantizeLinear"]
    assert len(dequantizers) == 1 and len(dequantizers[0].outputs[0].uses()) == 2
    assert [finding.rule for finding in result.findings] == ["calibration/float-weights"]
    assert "0.0 MB of weights stay float32: 1 Gather" in result.findings[0].message
    OrtSession(result.model).run({"x": _weights(1, 64)})


def test_convolutions_stay_float_and_are_told_once() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], name="conv"),
        helper.make_node("Conv", ["c", "k2"], ["d"], name="conv2"),
        helper.make_node("Flatten", ["d"], ["f"], name="flatten"),
        helper.make_node("MatMul", ["f", "w"], ["y"], name="product"),
    ]
    constants = {"k": _weights(64, 8, 3, 3), "k2": _weights(64, 64, 1, 1), "w": _weights(64, 10)}
    result = quantize_weights(_model(nodes, constants, (1, 8, 3, 3)), _scheme(INT8))
    (finding,) = result.findings
    assert "0.0 MB of weights stay float32: 2 Conv" in finding.message
    assert "Gemm and MatMul" in finding.remedy
    kernels = [n.inputs[1] for n in result.model.graph if n.op_type == "Conv"]
    assert [value.name for value in kernels if value is not None] == ["k", "k2"]


@pytest.mark.parametrize(
    "weights",
    [_weights(15, 17), np.full((64, 64), np.nan, np.float32), _weights(2, 16, 16)],
    ids=["small", "not finite", "several matrices"],
)
def test_weights_that_stay_float(weights: Any) -> None:
    shape = (2, 3, 16) if weights.ndim == 3 else (3, weights.shape[0])
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    with pytest.raises(ModelError, match="nothing in the model can be quantized"):
        quantize_weights(_model([node], {"w": weights}, shape), _scheme(INT8))


def test_excluded_nodes_stay_float() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("MatMul", ["a", "v"], ["y"], name="second"),
    ]
    model = _model(nodes, {"w": _weights(64, 64), "v": _weights(64, 64, seed=1)}, (3, 64))
    result = quantize_weights(model, _scheme(INT8), exclude=["first"]).model
    (node,) = (node for node in result.graph if node.op_type == "DequantizeLinear")
    assert node.outputs[0].uses()[0].node.name == "second"
    with pytest.raises(UsageError, match="no node 'third'"):
        quantize_weights(model, _scheme(INT8), exclude=["third"])


def test_the_model_is_left_alone_and_bytes_repeat() -> None:
    model = _matmul(_weights(64, 40))
    before = ir.to_proto(model).SerializeToString()
    first, second = (quantize_weights(model, _scheme(BLOCKS)).model for _ in range(2))
    assert ir.to_proto(model).SerializeToString() == before
    assert ir.to_proto(first).SerializeToString() == ir.to_proto(second).SerializeToString()


def test_only_weight_schemes_and_float_models() -> None:
    model = _matmul(_weights(64, 40))
    both = replace(_scheme(INT8), activation=NumberFormat("int8", symmetric=False))
    with pytest.raises(UnsupportedPrecision, match="does not quantize weights alone"):
        quantize_weights(model, both)
    with pytest.raises(UnsupportedPrecision, match="a form that cannot be made"):
        quantize_weights(model, _scheme(replace(INT8, granularity="per_tensor")))
    with pytest.raises(ModelError, match="quantized already"):
        quantize_weights(quantize_weights(model, _scheme(INT8)).model, _scheme(INT8))


def test_one_function_for_every_scheme() -> None:
    model = _matmul(_weights(64, 40))
    assert _stored(quantize_for(model, None, _scheme(INT8)).model)[0].dtype == np.int8
    both = replace(_scheme(INT8), activation=NumberFormat("int8", symmetric=False))
    with pytest.raises(UsageError, match=r"statistics are missing.*scales of activations"):
        quantize_for(model, None, both)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_scales_are_the_next_number_upwards(dtype: Any) -> None:
    number = replace(INT4, scale_dtype=dtype)
    magnitudes = np.geomspace(1e-6, 4e5, 1000).astype(np.float32)
    scales = symmetric_scales(magnitudes, number)
    stored = np.float16 if dtype == "float16" else ml_dtypes.bfloat16
    np.testing.assert_array_equal(scales, scales.astype(stored).astype(np.float32))
    np.testing.assert_array_equal(scales, scales.astype(np.float16).astype(np.float32))
    exact = np.maximum(magnitudes.astype(np.float64) / 7, 2.0**-14)
    digits = 10 if dtype == "float16" else 7
    assert (scales >= exact).all() and (scales <= exact * (1 + 2.0**-digits)).all()
    assert np.isinf(symmetric_scales(np.array([1e6], np.float32), number)).all()
    assert symmetric_scales(np.zeros(1, np.float32), number) == 1
