"""Scales that the source of a hub model chose: kept exactly, shifted, derived, or told why not."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.calibration import NumberFormat, QuantParams, collect_statistics
from edgewise.calibration.known import known_range, known_scales
from edgewise.calibration.parameters import affine_parameters, kept_parameters
from edgewise.calibration.quantize_for import quantize_for
from edgewise.calibration.ranges import Range, Stored
from edgewise.errors import ModelError, UsageError
from edgewise.graph import (
    TensorQuantization,
    attach_known_ranges,
    constant,
    known_ranges,
    load,
    quantization_of,
    save,
)
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE

INT8, UINT8 = NumberFormat("int8", symmetric=False), NumberFormat("uint8", symmetric=False)
SYMMETRIC = NumberFormat("int8", symmetric=True)
SHORT = NumberFormat("int8", symmetric=True, scale_dtype="float16")
INT16 = NumberFormat("int16", symmetric=True)


def known(scale, zero_point, dtype="int8", axis=None):
    scale = np.asarray(scale, np.float32)
    return TensorQuantization(
        scale, np.broadcast_to(np.array(zero_point, dtype), scale.shape), axis
    )


def by_tensor(model: ir.Model) -> dict[str, QuantParams]:
    """Scale and zero point of every quantized activation."""
    found = {}
    for node in model.graph:
        if node.op_type == QUANTIZE:
            parameters = quantization_of(node)
            found[node.inputs[0].name] = QuantParams(
                float(parameters.scale), int(parameters.zero_point)
            )
    return found


def integers(model: ir.Model, dtype: str):
    """Integers and scales of stored weights or biases, in graph order."""
    return [
        (constant(node.inputs[0]), quantization_of(node).scale)
        for node in model.graph
        if node.op_type == DEQUANTIZE
        and (array := constant(node.inputs[0])) is not None
        and array.dtype == dtype
    ]


@pytest.mark.parametrize(
    "stored, number, expected",
    [
        (Stored(0.5, 3, "int8"), INT8, (0.5, 3)),
        (Stored(0.5, 131, "uint8"), INT8, (0.5, 3)),
        (Stored(0.5, 3, "int8"), UINT8, (0.5, 131)),
        (Stored(0.5, 0, "int8"), SYMMETRIC, (0.5, 0)),
        (Stored(0.5, 128, "uint8"), SYMMETRIC, (0.5, 0)),
        (Stored(0.5, 0, "int16"), INT16, (0.5, 0)),
        (Stored(0.5, 3, "int8"), SYMMETRIC, None),
        (Stored(0.5, 0, "int8"), INT16, None),
        (Stored(0.5, 0, "int16"), INT8, None),
    ],
)
def test_parameters_are_kept_where_the_integers_are_the_same(stored, number, expected):
    kept = kept_parameters(stored, number)
    assert (None if kept is None else (kept.scale, kept.zero_point)) == expected


def test_short_scales_are_the_next_one_upwards():
    kept = kept_parameters(Stored(0.1, 0, "int8"), SHORT)
    assert kept is not None
    assert kept.scale == float(np.nextafter(np.float16(0.1), np.float16(1)))
    assert kept.scale >= 0.1


def test_other_formats_cover_the_range_of_all_integers():
    real = known_range(known(0.5, 28))
    assert (real.low, real.high) == (-78.0, 49.5)
    assert affine_parameters(real, SYMMETRIC) == QuantParams(float(np.float32(78 / 127)), 0)
    assert affine_parameters(real, INT16) == QuantParams(float(np.float32(78 / 32767)), 0)


def test_a_union_keeps_the_scale_of_the_range_that_holds_all():
    wide, narrow = known_range(known(0.5, 3)), known_range(known(0.25, 3))
    assert wide.union(narrow).stored == narrow.union(wide).stored == wide.stored
    assert Range(0.0, 1.0).union(wide).stored == wide.stored
    assert wide.union(Range(0.0, 100.0)).stored is None


@pytest.mark.parametrize("scale", [0.0123, [0.01, 0.02, 0.0001]])
def test_scales_of_weights_are_known_on_their_grid(scale):
    random = np.random.default_rng(0)
    stored = known(scale, 0, axis=None if isinstance(scale, float) else 0)
    array = stored.dequantize(random.integers(-127, 128, (3, 50)).astype(np.int8))
    found = known_scales(array, stored, 0)
    assert found is not None
    np.testing.assert_array_equal(found, np.broadcast_to(stored.scale, 3))
    array[1, 1] *= 1.01
    assert known_scales(array, stored, 0) is None, "a value between the steps"


def test_weights_that_a_target_cannot_store_are_not_known():
    per_channel = known([0.1, 0.2], 0, axis=0)
    array = per_channel.dequantize(np.array([[1, 2], [3, -128]], np.int8))
    assert known_scales(array, per_channel, 0) is None, "-128"
    array = per_channel.dequantize(np.array([[1, 2], [3, 4]], np.int8))
    assert known_scales(array, per_channel, 1) is None, "another axis"
    assert known_scales(array, known(0.1, 3), 0) is None, "a zero point"
    middle = known(0.1, 128, "uint8")
    shifted = middle.dequantize(np.array([[1, 200]], np.uint8))
    assert known_scales(shifted, middle, 0) is not None


@pytest.fixture
def hub(net):
    """Conv -> Relu -> MaxPool -> Conv -> GlobalAveragePool -> Softmax, weights on an int8 grid."""
    made = net()
    source = made.input("x", 1, 3, 8, 8)
    weights = {}
    for name, shape in (("w1", (4, 3, 3, 3)), ("w2", (5, 4, 1, 1))):
        scales = known(made.random.uniform(0.001, 0.002, shape[0]), 0, axis=0)
        stored = made.random.integers(-90, 91, shape).astype(np.int8)
        made.const(scales.dequantize(stored), name)
        weights[name] = scales, stored
    made.op("Conv", source, "w1", made.const(np.float32([0.1, -0.2, 0.3, 0])), name="c1",
            pads=[1] * 4)  # fmt: skip
    made.op("Relu", "c1", name="r1")
    made.op("MaxPool", "r1", name="p1", kernel_shape=[2, 2], strides=[2, 2])
    made.op("Conv", "p1", "w2", name="c2")
    made.op("GlobalAveragePool", "c2", name="g")
    made.op("Flatten", "g", name="f")
    made.op("Softmax", "f", name="y", axis=-1)
    model = made.model("y")
    ranges = {
        "x": known(0.03, 2), "r1": known(0.011, 0, "uint8"), "c2": known(0.017, -10),
        **{name: scales for name, (scales, _) in weights.items()},
    }  # fmt: skip
    attach_known_ranges(model, ranges)
    return model, weights


@pytest.mark.parametrize("target", ["android", "arm"])
def test_a_model_that_knows_its_ranges_needs_no_data(hub, schemes, target):
    model, weights = hub
    quantized = quantize_for(model, None, schemes[target]).model
    found = by_tensor(quantized)
    assert found["x"] == QuantParams(float(np.float32(0.03)), 2)
    # Relu is folded into the range that ends at zero, in signed integers; the pool hands it on
    folded = QuantParams(float(np.float32(0.011)), -128)
    assert found["c1" if "c1" in found else "r1"] == folded
    assert found["p1"] == folded
    assert found["c2"] == QuantParams(float(np.float32(0.017)), -10)
    stored = integers(quantized, "int8")
    assert len(stored) == 2
    for (array, scale), (scales, wanted) in zip(stored, weights.values(), strict=True):
        np.testing.assert_array_equal(array, wanted)
        np.testing.assert_array_equal(scale.ravel(), scales.scale)
    assert known_ranges(quantized) == {}, "the QDQ model says it with its nodes"


def test_a_tensor_whose_scale_a_target_prescribes_is_told(hub, schemes):
    model, _ = hub
    ranges = {**known_ranges(model), "y": known(0.0039, -128)}
    attach_known_ranges(model, ranges)
    result = quantize_for(model, None, schemes["android"])
    assert by_tensor(result.model)["y_QuantizeLinear_Input"] == QuantParams(1 / 256, -128)
    (finding,) = [f for f in result.findings if f.rule == "calibration/known-prescribed-output"]
    assert "'y'" in finding.message and "0.0039 and -128" in finding.message


def test_another_form_is_one_remark_and_covers_the_ranges(hub, schemes):
    result = quantize_for(hub[0], None, schemes["apple"])
    assert by_tensor(result.model)["x"].zero_point == 0
    assert by_tensor(result.model)["x"].scale == pytest.approx(0.03 * 130 / 127)
    told = {f.rule: f.message for f in result.findings}
    assert "3 activations ('c2', 'r1', 'x')" in told["calibration/known-zero-point"]
    assert "symmetric int8" in told["calibration/known-zero-point"]


def test_weights_that_were_changed_are_quantized_anew_and_told(hub, schemes):
    model, _ = hub
    value = model.graph.initializers["w1"]
    value.const_value = ir.tensor(value.const_value.numpy() * np.float32(1.2345), name="w1")
    result = quantize_for(model, None, schemes["arm"])
    array, _ = integers(result.model, "int8")[0]
    assert np.abs(array).max() == 127
    (finding,) = [f for f in result.findings if f.severity == "warning"]
    assert "1 weight ('w1')" in finding.message and finding.node == "n_c1"


def test_ranges_that_are_missing_come_from_data_or_are_an_error(hub, schemes, source_of):
    model, _ = hub
    ranges = known_ranges(model)
    del ranges["c2"], ranges["x"]
    attach_known_ranges(model, ranges)
    with pytest.raises(UsageError, match="calibration data is missing") as refused:
        quantize_for(model, None, schemes["android"])
    assert "4 tensors" in str(refused.value) and "'x', 'c2', 'g' and 1 more" in str(refused.value)
    statistics = collect_statistics(model, source_of(model))
    found = by_tensor(quantize_for(model, statistics, schemes["android"]).model)
    seen = statistics.tensors["x"]
    assert found["x"] == affine_parameters(Range(seen.minimum, seen.maximum), INT8)
    assert found["p1"] == QuantParams(float(np.float32(0.011)), -128), "known before observed"


def test_statistics_do_not_replace_what_is_known(hub, schemes, source_of):
    model, _ = hub
    statistics = collect_statistics(model, source_of(model, spread=100.0))
    alone = by_tensor(quantize_for(model, None, schemes["arm"]).model)
    both = by_tensor(quantize_for(model, statistics, schemes["arm"]).model)
    assert {name: both[name] for name in ("x", "p1", "c2")} == {
        name: alone[name] for name in ("x", "p1", "c2")
    }


def test_a_file_keeps_what_the_model_knows_to_the_bit(hub, tmp_path):
    model, _ = hub
    save(model, tmp_path / "hub.onnx")
    before, after = known_ranges(model), known_ranges(load(tmp_path / "hub.onnx"))
    assert before.keys() == after.keys()
    assert all(before[name].same_as(after[name]) for name in before)


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", '{"x": {"dtype": "int8", "scale": 0.1}}',
        '{"x": {"dtype": "int4", "scale": 0.1, "zero_point": 0}}',
        '{"x": {"dtype": "int8", "scale": -0.1, "zero_point": 0}}',
        '{"x": {"dtype": "int8", "scale": NaN, "zero_point": 0}}',
        '{"x": {"dtype": "int8", "scale": 0.1, "zero_point": 300}}',
        '{"x": {"dtype": "int8", "scale": [0.1], "zero_point": [0]}}',
    ],
)  # fmt: skip
def test_metadata_that_was_changed_is_one_clear_error(hub, text):
    model, _ = hub
    model.metadata_props["edgewise.known_ranges"] = text
    with pytest.raises(ModelError, match="known ranges") as refused:
        known_ranges(model)
    assert "\n" not in str(refused.value)


def test_a_known_gate_of_a_swish_is_not_replaced(schemes):
    model = ir.from_onnx_text(
        """<ir_version: 10, opset_import: ["": 24]>
        g (float[1, 4] x) => (float[1, 4] y) { y = Swish (x) }"""
    )
    ranges = {"x": known(0.03, 0), "y": known(0.02, 0)}
    attach_known_ranges(model, ranges)
    alone = by_tensor(quantize_for(model, None, schemes["apple"]).model)
    assert alone["y_sigmoid"] == QuantParams(float(np.float32(1 / 127)), 0)
    attach_known_ranges(model, {**ranges, "y_sigmoid": known(0.007, 0)})
    found = by_tensor(quantize_for(model, None, schemes["apple"]).model)
    assert found["y_sigmoid"] == QuantParams(float(np.float32(0.007)), 0)
