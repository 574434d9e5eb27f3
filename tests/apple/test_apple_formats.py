"""Weights alone in int8, int4 and tables: what the package stores, how large it is, and that it
computes what its ONNX model computes."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.calibration import quantize_weights
from edgewise.errors import ModelError, UsageError
from edgewise.graph import OrtSession, prepare
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET
from edgewise.targets.apple._coremltools import ct, quiet, types

FEEDS = {"i": np.random.default_rng(1).integers(0, 300, (1, 6, 7))}
#: precision, options, the system it needs, its weight file over that of fp32
FORMATS = [
    ("w8", {}, "iOS16", 0.27),
    ("w8", {"deployment_target": "iOS18"}, "iOS18", 0.27),
    ("w4", {}, "iOS18", 0.16),
    ("w4", {"block_size": 0}, "iOS18", 0.15),
    ("palette8", {}, "iOS16", 0.29),
    ("palette6", {}, "iOS16", 0.22),
    ("palette4", {}, "iOS16", 0.15),
    ("palette4", {"deployment_target": "macOS15"}, "iOS18", 0.15),
    ("palette6", {"group_size": 16}, "iOS18", 0.24),
]


def _network(make):
    """A table, and every kind of weight behind it; transposes to fold on their way."""
    rng = np.random.default_rng(0)

    def weight(*shape):
        return rng.normal(0, 0.1, shape).astype(np.float32)

    weights = {
        "table": weight(300, 64), "kernel": weight(64, 64, 3, 3), "deep": weight(256, 1, 3, 3),
        "point": weight(256, 64, 1, 1), "up": weight(64, 64, 2, 2), "dense": weight(256, 96),
        "bias": weight(96), "last": weight(96, 300),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["table", "i"], ["a"], name="look"),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["b", "kernel"], ["c"], name="conv", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("ConvTranspose", ["d", "up"], ["e"], name="up", strides=[2, 2]),
        helper.make_node("Conv", ["e", "point"], ["f"], name="point"),
        helper.make_node("Conv", ["f", "deep"], ["g"], name="deep", group=256),
        helper.make_node("GlobalAveragePool", ["g"], ["h"]),
        helper.make_node("Flatten", ["h"], ["k"]),
        helper.make_node("Gemm", ["k", "dense", "bias"], ["l"], name="dense"),
        helper.make_node("MatMul", ["l", "last"], ["y"], name="last"),
    ]
    return prepare(make.build_model(nodes, FEEDS, ["y"], weights))


def _operations(artifact):
    from coremltools.converters.mil.frontend.milproto.load import load

    with quiet():
        specification = ct.utils.load_spec(str(artifact.path))
        program = load(
            specification,
            specification_version=specification.specificationVersion,
            file_weights_dir=str(artifact.path / "Data/com.apple.CoreML/weights"),
        )
    return program.functions["main"].operations


def _weight_bytes(artifact):
    return (artifact.path / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size


@pytest.mark.parametrize("compute", ["fp16", "fp32"])
@pytest.mark.parametrize(("precision", "options", "system", "ratio"), FORMATS)
def test_format(make, tmp_path, precision, options, system, ratio, compute):
    hub = _network(make)
    model = quantize_weights(hub, TARGET.scheme(precision, options)).model
    artifact = TARGET.emit(
        model, tmp_path, precision, options=EmitOptions(options={**options, "compute": compute})
    )
    assert artifact.manifest.options["minimum_deployment_target"] == system
    found = TARGET.open(artifact.path).run(FEEDS)["y"]
    wanted = OrtSession(model).run(FEEDS)["y"]
    tolerance = 1e-5 if compute == "fp32" else 2e-3
    assert np.abs(found - wanted).max() < tolerance * np.abs(wanted).max()
    floats = 4 * sum(value.size for value in map(_array, hub.graph.initializers.values()))
    assert _weight_bytes(artifact) < ratio * floats


def _array(value):
    return value.const_value.numpy()


@pytest.mark.parametrize("precision", ["w8", "w4", "palette4"])
def test_every_large_weight_stays_compressed(make, tmp_path, precision):
    model = quantize_weights(_network(make), TARGET.scheme(precision)).model
    operations = _operations(TARGET.emit(model, tmp_path, precision))
    assert sum(op.op_type.startswith("constexpr_") for op in operations) == 7
    floats = [
        op
        for op in operations
        if op.op_type == "const" and op.outputs[0].dtype in (types.fp16, types.fp32)
    ]
    assert max(np.size(op.val.val) for op in floats) < 2048
    readers = {op.op_type: op for op in operations}
    for kind, parameter in (("gather", "x"), ("linear", "weight"), ("conv_transpose", "weight")):
        assert readers[kind].inputs[parameter].op.op_type.startswith("constexpr_")


def test_int4_blocks_of_a_convolution_share_scales_over_the_window(make, tmp_path):
    model = quantize_weights(_network(make), TARGET.scheme("w4")).model
    weights = {
        op.data.val.shape: op
        for op in _operations(TARGET.emit(model, tmp_path, "w4"))
        if op.op_type == "constexpr_blockwise_shift_scale"
    }
    assert weights[64, 64, 3, 3].scale.shape == (64, 2, 1, 1)
    assert weights[96, 256].scale.shape == (96, 8)
    assert weights[300, 64].scale.shape == (300, 2)
    assert weights[256, 1, 3, 3].scale.shape == (256, 1, 1, 1)
    assert all(op.data.dtype == types.int4 and op.offset is None for op in weights.values())


def test_a_tied_table_is_stored_once(make, tmp_path):
    table = make.random(300, 64)
    nodes = [
        helper.make_node("Gather", ["table", "i"], ["e"], name="look"),
        helper.make_node("ReduceMean", ["e"], ["m"], axes=[1, 2], keepdims=0),
        helper.make_node("Gemm", ["m", "table"], ["y"], name="scores", transB=1),
    ]
    hub = prepare(make.build_model(nodes, FEEDS, ["y"], {"table": table}, 17))
    for precision in ("w8", "palette8"):
        model = quantize_weights(hub, TARGET.scheme(precision)).model
        artifact = TARGET.emit(model, tmp_path / precision, precision)
        assert _weight_bytes(artifact) < 1.2 * table.size


def _blocked(make, dtype, shape, block, zero):
    """A product whose weight another tool has quantized."""
    rng = np.random.default_rng(0)
    info = ml_dtypes.iinfo(dtype)
    blocks = (-(-shape[0] // block), shape[1])
    constants = {
        "q": rng.integers(info.min, info.max + 1, shape).astype(dtype),
        "s": rng.uniform(0.01, 0.02, blocks).astype(np.float32),
    }
    names = ["q", "s"]
    if zero:
        constants["z"] = rng.integers(info.min, info.max + 1, blocks).astype(dtype)
        names.append("z")
    nodes = [
        helper.make_node("DequantizeLinear", names, ["w"], name="dq", axis=0, block_size=block),
        helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
    ]
    return make.build_model(nodes, {"x": make.random(2, shape[0])}, ["y"], constants)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("dtype", [ml_dtypes.int4, ml_dtypes.uint4, np.int8, np.uint8])
@pytest.mark.parametrize("rows", [64, 40])
def test_blocks_of_other_tools(make, tmp_path, dtype, zero, rows):
    """40 rows leave the last block of 16 short: blocks of 8 say the same."""
    model = _blocked(make, dtype, (rows, 24), 16, zero)
    artifact = TARGET.emit(model, tmp_path, "w4", options=EmitOptions(options={"compute": "fp32"}))
    x = {"x": make.random(2, rows)}
    wanted = OrtSession(model).run(x)["y"]
    np.testing.assert_allclose(TARGET.open(artifact).run(x)["y"], wanted, rtol=1e-5, atol=1e-5)
    kinds = [op.op_type for op in _operations(artifact)]
    assert kinds.count("constexpr_blockwise_shift_scale") == 1


def test_matmul_nbits_lands_as_int4_blocks(make, tmp_path):
    rng = np.random.default_rng(0)
    constants = {
        "b": rng.integers(0, 256, (48, 2, 16)).astype(np.uint8),
        "s": rng.uniform(0.01, 0.02, 96).astype(np.float32),
    }
    node = helper.make_node(
        "MatMulNBits", ["x", "b", "s"], ["y"], name="nbits", domain="com.microsoft",
        K=64, N=48, bits=4, block_size=32,
    )  # fmt: skip
    x = make.random(3, 64)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (3, 64)), ("y", (3, 48)))
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph([node], "nbits", ends[:1], ends[1:], stored)
    sets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = ir.from_proto(helper.make_model(graph, opset_imports=sets, ir_version=10))
    artifact = TARGET.emit(model, tmp_path, "w4", options=EmitOptions(options={"compute": "fp32"}))
    (weight,) = (
        op for op in _operations(artifact) if op.op_type == "constexpr_blockwise_shift_scale"
    )
    assert weight.data.dtype == types.int4 and weight.scale.shape == (48, 2)
    wanted = OrtSession(model).run({"x": x})["y"]
    np.testing.assert_allclose(TARGET.open(artifact).run({"x": x})["y"], wanted, atol=1e-4)


def test_a_weight_with_too_many_values_is_refused(make, tmp_path):
    hub = _network(make)
    with pytest.raises(ModelError, match=r"'look' \(Gather\).*its weight has more than 16"):
        TARGET.emit(hub, tmp_path / "out", "palette4")
    many = quantize_weights(hub, TARGET.scheme("palette8")).model
    with pytest.raises(ModelError, match="more than 64"):
        TARGET.emit(many, tmp_path / "out", "palette6")
    assert not (tmp_path / "out").exists()
    partly = quantize_weights(hub, TARGET.scheme("palette4"), exclude=["conv"]).model
    TARGET.emit(partly, tmp_path / "partly", "palette4")


@pytest.mark.parametrize(
    ("precision", "options", "message"),
    [
        ("w8", {"block_size": 32}, "no meaning"),
        ("w4", {"group_size": 8}, "no meaning"),
        ("w4", {"block_size": 12}, "multiple of 8"),
        ("w4", {"block_size": True}, "multiple of 8"),
        ("palette4", {"group_size": -1}, "whole number"),
    ],
)
def test_sizes_that_make_no_sense(precision, options, message):
    with pytest.raises(UsageError, match=message):
        TARGET.check_options(options, precision)
