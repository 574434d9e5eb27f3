"""Scales of quantized sources and the rules of a scheme: kept to the bit, or told with the node."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.calibration import QuantParams, collect_statistics
from edgewise.calibration.quantize_for import quantize_for
from edgewise.exporters import export
from edgewise.graph import (
    TensorQuantization,
    attach_known_ranges,
    constant,
    known_ranges,
    quantization_of,
)
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.targets import get

TARGETS = ("android", "apple", "arm")
#: a number of float16, so that every target stores it
HALF = float(np.float16(0.0123))


def known(scale, zero_point, dtype="int8", axis=None):
    scale = np.asarray(scale, np.float32)
    return TensorQuantization(
        scale, np.broadcast_to(np.array(zero_point, dtype), scale.shape), axis
    )


def quantized(model: ir.Model, target: str, statistics=None):
    return quantize_for(model, statistics, get(target).scheme("w8a8"))


def by_tensor(model: ir.Model) -> dict[str, QuantParams]:
    found = {}
    for node in model.graph:
        if node.op_type == QUANTIZE:
            read = quantization_of(node)
            name = node.inputs[0].name.removesuffix("_QuantizeLinear_Input")
            found[name] = QuantParams(float(read.scale), int(read.zero_point))
    return found


def told(result, rule: str):
    return [f for f in result.findings if f.rule == f"calibration/{rule}"]


@pytest.fixture
def hub(net):
    """x -> Conv -> Relu -> MaxPool -> Conv -> Softmax, weights on the grid of their integers."""
    made = net()
    x = made.input("x", 1, 3, 8, 8)
    ranges = {}
    for name, shape in (("w1", (4, 3, 3, 3)), ("w2", (5, 4, 1, 1))):
        scales = np.float16(made.random.uniform(0.001, 0.002, shape[0])).astype(np.float32)
        ranges[name] = known(scales, 0, axis=0)
        stored = made.random.integers(-90, 91, shape).astype(np.int8)
        made.const(ranges[name].dequantize(stored), name)
    made.op("Conv", x, "w1", name="c1", pads=[1] * 4)
    made.op("Relu", "c1", name="r1")
    made.op("MaxPool", "r1", name="p1", kernel_shape=[2, 2], strides=[2, 2])
    made.op("Conv", "p1", "w2", name="c2")
    made.op("Softmax", "c2", name="y", axis=1)
    model = made.model("y")
    ranges |= {"x": known(HALF, 0), "r1": known(HALF, 0, "uint8"), "p1": known(HALF, 0, "uint8"),
               "c2": known(2 * HALF, 0)}  # fmt: skip
    attach_known_ranges(model, ranges)
    return model


def changed(model: ir.Model, **new: TensorQuantization) -> ir.Model:
    attach_known_ranges(model, {**known_ranges(model), **new})
    return model


@pytest.mark.parametrize("target", TARGETS)
def test_scales_that_fit_the_scheme_are_the_same_bits_and_nothing_is_told(hub, target):
    result = quantized(hub, target)
    found = by_tensor(result.model)
    wanted = {"x": (HALF, 0), "p1": (HALF, -128), "c2": (2 * HALF, 0)}
    assert {name: (found[name].scale, found[name].zero_point) for name in wanted} == wanted
    rules = {f.rule.partition("/known-")[2] for f in result.findings} - {""}
    assert not rules, result.findings


@pytest.mark.parametrize("target", TARGETS)
def test_a_pool_with_two_scales_is_told_with_its_node(hub, target):
    result = quantized(changed(hub, p1=known(HALF * 4, 0, "uint8")), target)
    (finding,) = told(result, "known-shared-scale")
    assert finding.node == "n_p1" and "MaxPool" in finding.message and target in finding.message


@pytest.mark.parametrize("target", ["android", "arm"])
def test_an_output_that_the_kernel_prescribes_is_told_with_its_node(hub, target):
    result = quantized(changed(hub, y=known(0.0039, -128)), target)
    (finding,) = told(result, "known-prescribed-output")
    assert finding.node == "n_y" and "Softmax" in finding.message


def test_zero_points_scale_types_and_widths_are_told_with_the_first_node(hub):
    result = quantized(changed(hub, x=known(0.1, 3), c2=known(0.1, 0)), "apple")
    (zero_point,) = told(result, "known-zero-point")
    assert zero_point.node == "n_c1" and "'x'" in zero_point.message
    (scale,) = told(result, "known-scale-type")
    assert scale.node == "n_c2" and "'c2'" in scale.message and "float16" in scale.message
    assert by_tensor(result.model)["c2"].scale == float(
        np.nextafter(np.float16(0.1), np.float16(1))
    )
    (width,) = told(quantized(changed(hub, x=known(0.001, 0, "int16")), "android"), "known-width")
    assert width.node == "n_c1" and "'x'" in width.message


@pytest.mark.parametrize(
    "new, why",
    [
        (known([0.001] * 3, 0, axis=1), "along axis 1"),
        (known([0.001] * 4, 3, axis=0), "zero points"),
        (known([0.001] * 4, 0, "int16", axis=0), "stores int16"),
        (known([0.00137] * 4, 0, axis=0), "changed their values"),
    ],
)
def test_weights_that_cannot_stay_are_told_with_the_reason(hub, new, why):
    if "changed" not in why:
        grid = new.dequantize(np.full((4, 3, 3, 3), 7, new.zero_point.dtype))
        hub.graph.initializers["w1"].const_value = ir.tensor(grid, name="w1")
    (finding,) = told(quantized(changed(hub, w1=new), "arm"), "known-weight")
    assert finding.severity == "warning" and finding.node == "n_c1" and why in finding.message


def test_a_weight_that_uses_minus_128_often_is_told(hub):
    scales = known_ranges(hub)["w2"]
    stored = np.full((5, 4, 1, 1), -128, np.int8)
    hub.graph.initializers["w2"].const_value = ir.tensor(scales.dequantize(stored), name="w2")
    (finding,) = told(quantized(hub, "android"), "known-weight")
    assert finding.node == "n_c2" and "-128" in finding.message


@pytest.mark.parametrize("target", TARGETS)
def test_a_few_integers_of_minus_128_move_one_step_and_all_scales_stay(hub, target):
    """PyTorch's default for training, max|w| / 127.5, puts one weight of a channel there."""
    scales = known_ranges(hub)["w1"]
    stored = np.random.default_rng(1).integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    stored[0, 0, 0, 0] = stored[2, 1, 1, 1] = -128
    hub.graph.initializers["w1"].const_value = ir.tensor(scales.dequantize(stored), name="w1")
    result = quantized(hub, target)
    (finding,) = told(result, "known-weight")
    assert finding.severity == "info" and finding.node == "n_c1" and "-128" in finding.message
    kept = next(n for n in result.model.graph if n.name == "n_c1").inputs[1].producer()
    np.testing.assert_array_equal(quantization_of(kept).scale, scales.scale)
    np.testing.assert_array_equal(constant(kept.inputs[0]), np.maximum(stored, -127))


def test_weights_with_float32_scales_keep_their_integers_on_apple(hub):
    scales = known(np.float32([0.00123, 0.00234, 0.00345, 0.00456]), 0, axis=0)
    stored = np.random.default_rng(1).integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    hub.graph.initializers["w1"].const_value = ir.tensor(scales.dequantize(stored), name="w1")
    result = quantized(changed(hub, w1=scales), "apple")
    (finding,) = told(result, "known-scale-type")
    assert finding.node == "n_c1" and "1 weight ('w1')" in finding.message
    kept = [constant(n.inputs[0]) for n in result.model.graph if n.op_type == DEQUANTIZE]
    assert any(k is not None and np.array_equal(k, stored) for k in kept)


def test_what_the_source_left_in_float_is_told(hub, source_of):
    ranges = known_ranges(hub)
    del ranges["c2"]
    attach_known_ranges(hub, ranges)
    statistics = collect_statistics(hub, source_of(hub))
    (finding,) = told(quantized(hub, "android", statistics), "known-missing")
    assert finding.node == "n_c2" and "'c2'" in finding.message


def test_biases_between_the_steps_of_the_accumulator_are_told(net):
    made = net()
    x = made.input("x", 1, 4)
    made.const(known(0.01, 0).dequantize(np.full((4, 3), 100, np.int8)), "w")
    made.op("Gemm", x, "w", made.const(np.float32([0.1234567, 0.2, 0.3]), "b"), name="y")
    model = made.model("y")
    attach_known_ranges(model, {"x": known(0.25, 0), "w": known(0.01, 0), "y": known(0.5, 0)})
    (finding,) = told(quantized(model, "android"), "known-bias")
    assert finding.node == "n_y" and "'b'" in finding.message


@pytest.mark.parametrize("dtype, zero_point", [("int4", 0), ("uint4", 8)])
@pytest.mark.parametrize("target", TARGETS)
def test_weights_of_four_bits_keep_their_scales_in_bytes(dtype, zero_point, target):
    random = np.random.default_rng(0)
    scales = np.float16(random.uniform(0.01, 0.02, 5)).astype(np.float32)
    steps = random.integers(-7, 8, (5, 4, 1, 1))
    number = ml_dtypes.int4 if dtype == "int4" else ml_dtypes.uint4
    kind = TensorProto.INT4 if dtype == "int4" else TensorProto.UINT4
    stored = ir.to_proto(ir.tensor((steps + zero_point).astype(number), name="w_quantized"))
    zeros = ir.to_proto(ir.tensor(np.full(5, zero_point).astype(number), name="zeros"))
    assert stored.data_type == kind
    numbers = {"s": np.float32(HALF), "z": np.int8(0), "t": np.float32(2 * HALF), "scales": scales}
    nodes = [
        helper.make_node(QUANTIZE, ["x", "s", "z"], ["xq"]),
        helper.make_node(DEQUANTIZE, ["xq", "s", "z"], ["xd"]),
        helper.make_node(DEQUANTIZE, ["w_quantized", "scales", "zeros"], ["w"], axis=0),
        helper.make_node("Conv", ["xd", "w"], ["c"], name="conv"),
        helper.make_node(QUANTIZE, ["c", "t", "z"], ["cq"]),
        helper.make_node(DEQUANTIZE, ["cq", "t", "z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "four_bits",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4, 3, 3))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 5, 3, 3))],
        [stored, zeros, *(numpy_helper.from_array(a, name) for name, a in numbers.items())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    result = quantized(export(model).model, target)
    found = [
        (constant(n.inputs[0]), quantization_of(n).scale)
        for n in result.model.graph
        if n.op_type == DEQUANTIZE and constant(n.inputs[0]) is not None
    ]
    integers, kept = next(pair for pair in found if pair[0].ndim == 4)
    np.testing.assert_array_equal(integers, steps)
    np.testing.assert_array_equal(kept, scales)
