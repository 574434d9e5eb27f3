"""Quantized models: the package holds exactly the integers, scales and zero points of the model,
computes the same, and is in the form of Apple's own quantizers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from edgewise.graph import OrtSession, prepare, quantization_of
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET
from edgewise.targets.apple._coremltools import ct, quiet
from edgewise.targets.apple.legalize import LegalModel
from edgewise.targets.apple.lower import lower
from edgewise.targets.apple.program_view import view_of
from edgewise.targets.apple.promises import promises_of
from edgewise.targets.apple.quantized_form import QuantizedForm, examine
from edgewise.targets.apple.redundant_pairs import drop_redundant_pairs

FP32 = EmitOptions(options={"compute": "fp32"})


def form_of(model: ir.Model) -> QuantizedForm:
    """The form of a prepared model as it stands, lowered."""
    program = lower(LegalModel(model, {}), "iOS17").program
    return examine(view_of(program.functions["main"]), promises_of(model).operators)


def operations(artifact, *kinds: str):
    """The operations of some kinds, read back from the saved package."""
    from coremltools.converters.mil.frontend.milproto.load import load

    with quiet():
        specification = ct.utils.load_spec(str(artifact.path))
        program = load(
            specification,
            specification_version=specification.specificationVersion,
            file_weights_dir=str(artifact.path / "Data/com.apple.CoreML/weights"),
        )
    return [op for op in program.functions["main"].operations if op.op_type in kinds]


def stored_quantizations(artifact):
    """(kind, scale, zero point) of every activation quantization, sorted."""
    return sorted(
        (op.op_type, float(op.scale.val), int(op.zero_point.val if op.zero_point else 0))
        for op in operations(artifact, "quantize", "dequantize")
    )


def model_quantizations(model: ir.Model):
    return sorted(
        (
            "quantize" if node.op_type == "QuantizeLinear" else "dequantize",
            float(quantization_of(node).scale),
            int(quantization_of(node).zero_point),
        )
        for node in model.graph
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
        and node.inputs[0].const_value is None
    )


def counted_from_zero(found):
    """What counts from -128 is stored unsigned."""
    return sorted((kind, scale, 0 if zero == -128 else zero) for kind, scale, zero in found)


@pytest.mark.parametrize("zero", [0, -128, 17])
def test_scales_and_zero_points_are_those_of_the_model(make, tmp_path, zero):
    model = make.quantized_cnn(zero=zero)
    artifact = TARGET.emit(model, tmp_path, "w8a8", options=FP32)
    assert stored_quantizations(artifact) == counted_from_zero(model_quantizations(model))
    weights = operations(artifact, "constexpr_affine_dequantize")
    stored = {op.quantized_data.val.shape: op for op in weights}
    for node in model.graph:
        data = node.inputs[0].const_value
        if node.op_type != "DequantizeLinear" or data is None or data.dtype != ir.DataType.INT8:
            continue
        weight = stored[tuple(data.shape)]
        np.testing.assert_array_equal(weight.quantized_data.val, data.numpy())
        np.testing.assert_array_equal(weight.scale.val, quantization_of(node).scale)
        assert weight.quantized_data.val.dtype == np.int8
        assert not weight.zero_point.val.any()


def test_in_fp16_scales_are_rounded_and_nothing_else(make, tmp_path):
    model = make.quantized_cnn(zero=-128)
    artifact = TARGET.emit(model, tmp_path, "w8a8")
    rounded = [(kind, float(np.float16(s)), z) for kind, s, z in model_quantizations(model)]
    assert stored_quantizations(artifact) == counted_from_zero(rounded)


@pytest.mark.parametrize("zero", [0, -128, 17])
@pytest.mark.parametrize("inner_pair", [False, True])
def test_outputs_equal_onnx_runtime_bit_by_bit(make, tmp_path, zero, inner_pair):
    model = make.quantized_cnn(zero=zero, inner_pair=inner_pair)
    session = TARGET.open(TARGET.emit(model, tmp_path, "w8a8", options=FP32))
    reference = OrtSession(model)
    for seed in range(8):
        feeds = {"x": make.random(1, 3, 12, 12, seed=seed)}
        np.testing.assert_array_equal(session.run(feeds)["y_d"], reference.run(feeds)["y_d"])


def test_fp16_stays_within_two_steps(make, tmp_path):
    model = make.quantized_cnn()
    session = TARGET.open(TARGET.emit(model, tmp_path, "w8a8"))
    reference = OrtSession(model)
    for seed in range(8):
        feeds = {"x": make.random(1, 3, 12, 12, seed=seed)}
        steps = (session.run(feeds)["y_d"] - reference.run(feeds)["y_d"]) / 0.037
        assert np.abs(steps).max() < 2.1  # fp16 scales stretch the steps themselves a little


def test_requantization_behind_a_reshape_survives(make, matches_ort):
    """coremltools 9 drops it in its default pipeline (pass int_op_canonicalization)."""
    x = make.random(1, 4, 6, low=-2, high=2)
    first, constants = make.quantized_pair("x", 0.011)
    second, more = make.quantized_pair("t", 0.043)
    nodes = [*first, helper.make_node("Reshape", ["x_d", "shape"], ["t"]), *second]
    constants = {**constants, **more, "shape": np.array([1, 24], np.int64)}
    model = make.build_model(nodes, {"x": x}, ["t_d"], constants)
    results = matches_ort(model, {"x": x}, precision="w8a8", compute="fp32", atol=0)
    assert len(np.unique(results["t_d"])) > 5


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_unsigned_and_per_channel_activations(make, matches_ort, dtype):
    x = make.random(1, 3, 4, 4)
    constants = {
        "s": np.array([0.01, 0.02, 0.03], np.float32),
        "z": np.array([3, 5, 7], dtype),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=1),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=1),
    ]
    model = make.build_model(nodes, {"x": x}, ["y"], constants)
    matches_ort(model, {"x": x}, precision="w8a8", compute="fp32", atol=0)
    assert "apple/activation-per-channel" in {f.rule for f in TARGET.check(model)}


def test_integer_inputs_and_outputs(make, matches_ort):
    x = np.arange(-8, 8, dtype=np.int8).reshape(1, 16)
    constants = {"s": np.array(0.5, np.float32), "t": np.array(0.7, np.float32)}
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s"], ["d"]),
        helper.make_node("QuantizeLinear", ["d", "t"], ["y"], output_dtype=3),
    ]
    model = make.build_model(nodes, {"x": x}, ["y"], constants)
    matches_ort(model, {"x": x}, precision="w8a8", compute="fp32")


def test_a_float_weight_quantized_in_the_graph_is_stored_as_integers(make, tmp_path):
    x = make.random(1, 4)
    pair, constants = make.quantized_pair("x", 0.02)
    constants |= {
        "w": make.random(4, 3, seed=1), "ws": np.full(3, 0.025, np.float32),
        "wz": np.zeros(3, np.int8),
    }  # fmt: skip
    nodes = [
        *pair,
        helper.make_node("QuantizeLinear", ["w", "ws", "wz"], ["wq"], axis=1),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], axis=1),
        helper.make_node("MatMul", ["x_d", "wd"], ["y"]),
    ]
    model = make.build_model(nodes, {"x": x}, ["y"], constants)
    artifact = TARGET.emit(model, tmp_path, "w8a8", options=FP32)
    assert len(operations(artifact, "constexpr_affine_dequantize")) == 1
    result = TARGET.open(artifact).run({"x": x})["y"]
    np.testing.assert_allclose(result, OrtSession(model).run({"x": x})["y"], atol=1e-5)


def test_the_form_of_every_layer(make):
    form = form_of(make.quantized_cnn())
    assert (form.in_form, form.total) == (3, 3)
    assert [finding.rule for finding in form.findings()] == ["apple/quantized-form"]


def test_a_pair_between_layer_and_activation_is_dropped(make):
    model = prepare(make.quantized_cnn(inner_pair=True))
    before = form_of(model)
    assert before.in_form == 2
    assert before.layers[0].reasons == ("its output is quantized before Relu and again behind it",)
    assert drop_redundant_pairs(model) == 1
    assert form_of(model).in_form == 3


def test_a_pair_with_other_scales_stays(make):
    model = make.quantized_cnn(inner_pair=True)
    scale = next(v for v in model.graph.initializers.values() if v.name == "a_s")
    scale.const_value = ir.tensor(np.array(0.05, np.float32), name="a_s")
    ready = prepare(model)
    assert drop_redundant_pairs(ready) == 0
    findings = [f for f in TARGET.check(model) if f.rule == "apple/layer-not-in-quantized-form"]
    assert [(f.node, f.severity) for f in findings] == [("conv1", "warning")]
    assert "quantized before Relu" in findings[0].message


def test_dropping_the_pair_changes_no_value(make):
    original = make.quantized_cnn(inner_pair=True, zero=-9)
    legalized = prepare(original)
    drop_redundant_pairs(legalized)
    first, second = OrtSession(original), OrtSession(legalized)
    for seed in range(10):
        feeds = {"x": make.random(1, 3, 12, 12, seed=seed, low=-5, high=5)}
        np.testing.assert_array_equal(first.run(feeds)["y_d"], second.run(feeds)["y_d"])


def test_layers_outside_the_form_have_reasons(make):
    form = form_of(make.quantized_cnn(last_float=True))
    assert form.layers[-1].node == "fc"
    assert form.layers[-1].reasons == ("its output leaves the model unquantized",)
    float_layer = make.node("Conv", [(1, 3, 5, 5), (4, 3, 3, 3)], {}).model()
    assert form_of(float_layer) == QuantizedForm((), ("node",))


def test_a_scale_that_fp16_cannot_hold_is_remarked(make):
    pair, constants = make.quantized_pair("x", 3e-8)
    model = make.build_model(pair, {"x": make.random(1, 4)}, ["x_d"], constants)
    findings = [f for f in TARGET.check(model) if f.rule == "apple/fp16-scale"]
    assert len(findings) == 2 and findings[0].severity == "warning"
    assert "98.7% in fp16" in findings[0].message


def test_scales_computed_at_run_time_become_arithmetic(make, matches_ort):
    feeds = {"x": make.random(2, 3), "s": np.array([0.1], np.float32)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="dynamic"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    model = make.build_model(nodes, feeds, ["y"], {"z": np.zeros(1, np.int8)})
    assert not [finding for finding in TARGET.check(model) if finding.severity == "error"]
    matches_ort(model, feeds)
