"""Float models whose weights have few different values: which weights, how many, how good."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgewise.calibration import Palette, Scheme, quantize_weights
from edgewise.calibration.palettes import is_excluded
from edgewise.errors import ModelError, UsageError
from edgewise.graph import OrtSession, constant

RNG = np.random.default_rng(0)
OPS = frozenset({"Conv", "ConvTranspose", "Gather", "Gemm", "MatMul"})


def _scheme(bits, group_size=0, smallest=256):
    precision = f"palette{bits}"
    return Scheme(
        "apple",
        precision,
        palette=Palette(bits, group_size),
        quantized_ops=OPS,
        smallest_weight=smallest,
    )


def _model(weights, nodes, inputs):
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for k, v in inputs.items()
        ],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def _two_layers():
    weights = {
        "k": RNG.normal(size=(32, 8, 3, 3)).astype(np.float32),
        "w": RNG.normal(size=(32, 24)).astype(np.float32),
        "b": RNG.normal(size=(24,)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], name="conv"),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"], name="dense"),
    ]
    return _model(weights, nodes, {"x": RNG.normal(size=(1, 8, 6, 6)).astype(np.float32)}), weights


def _weight(model, name):
    (node,) = (node for node in model.graph if node.name == name)
    return constant(node.inputs[1])


@pytest.mark.parametrize(("bits", "decibels"), [(4, 19), (6, 31), (8, 43)])
def test_weights_keep_few_values_close_to_their_own(bits, decibels):
    model, weights = _two_layers()
    few = quantize_weights(model, _scheme(bits)).model
    for name, original in (("conv", weights["k"]), ("dense", weights["w"])):
        stored = _weight(few, name)
        assert np.unique(stored).size <= 1 << bits
        noise = ((stored - original) ** 2).sum() / (original**2).sum()
        assert -10 * np.log10(noise) > decibels
        np.testing.assert_array_equal(stored, stored.astype(np.float16))
    np.testing.assert_array_equal(constant(few.graph.initializers["b"]), weights["b"])
    np.testing.assert_array_equal(_weight(model, "conv"), weights["k"])


def test_each_group_of_channels_has_a_table():
    model, _ = _two_layers()
    few = quantize_weights(model, _scheme(4, group_size=8)).model
    kernel, matrix = _weight(few, "conv"), _weight(few, "dense")
    assert np.unique(kernel).size > 16 and np.unique(matrix).size > 16
    assert all(np.unique(kernel[start : start + 8]).size <= 16 for start in range(0, 32, 8))
    assert all(np.unique(matrix[:, start : start + 8]).size <= 16 for start in range(0, 24, 8))


def test_channels_that_make_no_groups_share_one_table():
    model, _ = _two_layers()
    few = quantize_weights(model, _scheme(4, group_size=16)).model
    assert np.unique(_weight(few, "dense")).size <= 16  # 24 channels
    assert np.unique(_weight(few, "conv")).size > 16


def test_a_tied_table_stays_one_weight():
    table = RNG.normal(size=(40, 16)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "i"], ["e"], name="look"),
        helper.make_node("Gemm", ["e", "table"], ["y"], name="scores", transB=1),
    ]
    model = _model({"table": table}, nodes, {"i": np.arange(5)})
    few = quantize_weights(model, _scheme(6)).model
    assert len(few.graph.initializers) == 1
    assert np.unique(_weight(few, "scores")).size <= 64
    OrtSession(few).run({"i": np.arange(5)})


def test_small_weights_and_excluded_nodes_keep_their_own():
    model, weights = _two_layers()
    result = quantize_weights(model, _scheme(4, smallest=1000))
    np.testing.assert_array_equal(_weight(result.model, "dense"), weights["w"])
    assert result.findings == ()
    few = quantize_weights(model, _scheme(4), exclude=["conv"])
    np.testing.assert_array_equal(_weight(few.model, "conv"), weights["k"])
    again = ir.from_proto(ir.to_proto(few.model))
    assert [node.name for node in again.graph if is_excluded(node)] == ["conv"]
    assert "1 Conv" in few.findings[0].message and "as tables" in few.findings[0].remedy
    with pytest.raises(UsageError, match="no node 'convolution'"):
        quantize_weights(model, _scheme(4), exclude=["convolution"])


def test_nothing_to_palettize():
    model, _ = _two_layers()
    with pytest.raises(ModelError, match=r"as tables, and the model has none with 100000 values"):
        quantize_weights(model, _scheme(4, smallest=100_000))


@pytest.mark.parametrize("factor", [1e6, 1e-6])
def test_values_beyond_float16_stay_float32(factor):
    model, weights = _two_layers()
    kernel = model.graph.initializers["k"]
    kernel.const_value = ir.tensor(weights["k"] * np.float32(factor), name="k")
    stored = _weight(quantize_weights(model, _scheme(8)).model, "conv")
    assert np.isfinite(stored).all() and np.unique(stored).size > 200
