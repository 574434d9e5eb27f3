"""A model that onnxruntime.quantization quantized, from its file to the artifacts, without data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import edgewise.sample_models.digits as digits
from edgewise import stages
from edgewise.calibration.scheme import QuantParams
from edgewise.exporters import export
from edgewise.graph import OrtSession, constant, load, quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE

FOLDER = Path(digits.__file__).parent
EVALUATION = FOLDER / "evaluation.npz"
FORMS = [
    ("QDQ", "QInt8", True), ("QDQ", "QUInt8", False),
    ("QOperator", "QInt8", False), ("QOperator", "QUInt8", True),
]  # fmt: skip
Quantize = Callable[[str, str, bool], Path]
Stored = dict[str, list[Any]]


class _Reader:
    """Calibration data as onnxruntime.quantization reads it."""

    def __init__(self) -> None:
        images = np.load(FOLDER / "calibration.npz")["image"]
        self._feeds: Iterator[dict[str, Any]] = iter([{"image": i[None]} for i in images[:32]])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Quantize:
    """The digits sample in one form: format, type of activations, weights per channel."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    folder, made = tmp_path_factory.mktemp("quantized"), dict[str, Path]()

    def quantize(form: str, activation: str, per_channel: bool) -> Path:
        name = f"{form}-{activation}-{per_channel}.onnx"
        if name not in made:
            made[name] = folder / name
            quantize_static(
                FOLDER / "digits.onnx", made[name], _Reader(),
                quant_format=QuantFormat[form], activation_type=QuantType[activation],
                weight_type=QuantType.QInt8, per_channel=per_channel,
            )  # fmt: skip
        return made[name]

    return quantize


def activations(model: ir.Model) -> dict[str, QuantParams]:
    """Scale and zero point, as of int8, by the name of the tensor."""
    found = {}
    for node in model.graph:
        if node.op_type == QUANTIZE:
            parameters = quantization_of(node)
            shift = 128 if parameters.zero_point.dtype == "uint8" else 0
            name = str(node.inputs[0].name).removesuffix("_QuantizeLinear_Input")
            zero_point = int(parameters.zero_point) - shift
            found[name] = QuantParams(float(parameters.scale), zero_point)
    return found


def of_operators(model: ir.Model) -> dict[str, QuantParams]:
    """The same of a model of operators on integers, in which they are inputs."""
    places = {"QLinearConv": 6, "QLinearAdd": 6, "QLinearReduceMean": 3, "QGemm": 7}
    found = {}
    for node in model.graph:
        if node.op_type in places:
            scale, zero = (constant(node.inputs[places[node.op_type] + i]) for i in (0, 1))
            name = str(node.outputs[0].name).removesuffix("_quantized")
            shift = 128 if zero.dtype == "uint8" else 0
            found[name] = QuantParams(float(scale.reshape(())), int(zero.reshape(())) - shift)
    return found


def constants(model: ir.Model) -> Stored:
    """Integers and scales of weights and biases, by node."""
    found = {}
    for node in model.graph:
        slots = [3, 8] if node.op_type == "QLinearConv" else [3, 6]
        if node.op_type in ("QLinearConv", "QGemm"):
            arrays = [constant(node.inputs[slot]) for slot in slots]
            scale = constant(node.inputs[4])
            found[str(node.name).removesuffix("_quant")] = [*arrays, scale.ravel()]
        elif node.op_type in ("Conv", "Gemm"):
            makers = [value.producer() for value in node.inputs[1:]]
            assert all(maker.op_type == DEQUANTIZE for maker in makers)
            scale = quantization_of(makers[0]).scale
            found[str(node.name)] = [*(constant(m.inputs[0]) for m in makers), scale.ravel()]
    return found


@pytest.mark.parametrize("form, activation, per_channel", FORMS)
def test_android_and_arm_carry_the_integers_of_the_source(
    quantized: Quantize, form: str, activation: str, per_channel: bool
) -> None:
    path = quantized(form, activation, per_channel)
    source, exported = load(path), export(path)
    # a step of the output is 0.009 of what random inputs reach
    assert exported.parity.max_rel_error < 0.02, exported.parity
    wanted = activations(source) if form == "QDQ" else of_operators(source)
    expected = constants(source)
    for target in ("android", "arm"):
        made = stages.quantize(exported.model, target=target)
        found = activations(made)
        common = wanted.keys() & found.keys()
        assert len(common) >= 20, "most tensors have their names still"
        assert {name: found[name] for name in common} == {name: wanted[name] for name in common}
        assert set(found.values()) <= set(activations(source).values()) | set(wanted.values())
        stored = constants(made)
        assert stored.keys() == expected.keys()
        for name, (weight, bias, scale) in stored.items():
            np.testing.assert_array_equal(weight, expected[name][0].reshape(weight.shape))
            np.testing.assert_array_equal(bias, expected[name][1])
            np.testing.assert_array_equal(np.unique(scale), np.unique(expected[name][2]))


def _accuracy(model: ir.Model, image: Any, label: Any) -> float:
    (scores,) = OrtSession(model).run({"image": image}).values()
    return float((scores.argmax(axis=1) == label).mean())


def test_no_accuracy_is_lost_on_any_target(quantized: Quantize) -> None:
    path = quantized("QDQ", "QInt8", True)
    data = np.load(EVALUATION)
    image, label = data["image"][:300], data["label"][:300]
    before = _accuracy(load(path), image, label)
    hub = export(path).model
    assert before > 0.98
    for target in ("android", "apple", "arm"):
        after = _accuracy(stages.quantize(hub, target=target), image, label)
        assert abs(after - before) <= 0.01, target


@pytest.mark.slow
def test_one_command_from_the_file_to_all_artifacts(
    run: Any, quantized: Quantize, tmp_path: Path
) -> None:
    path, out = quantized("QOperator", "QUInt8", True), tmp_path / "dist"
    outcome = run("build", path, "--evaluation", EVALUATION, "--limit", "40", "--out", out)
    assert outcome.code == 0, outcome.err
    assert "with the source's scales put back" in outcome.out
    report = json.loads((out / "report.json").read_text())
    assert report["calibration"] == {
        "data": None, "method": None, "percentile": None,
        "reason": "from the model's own scales", "repairs": [],
    }  # fmt: skip
    for name in ("android", "apple", "arm"):
        accuracy = report["targets"][name]["accuracy"]
        assert accuracy["artifact"] >= accuracy["fp32"] - 0.01, name
        assert report["targets"][name]["equivalence"]["argmax_agreement"] >= 0.99


def test_by_hand_with_and_without_data_beside(
    run: Any, quantized: Quantize, tmp_path: Path
) -> None:
    hub, statistics = tmp_path / "hub.onnx", tmp_path / "statistics.npz"
    outcome = run("export", quantized("QDQ", "QUInt8", False), "--out", hub)
    assert outcome.code == 0 and "with the source's scales put back" in outcome.out
    alone, both = tmp_path / "alone.onnx", tmp_path / "both.onnx"
    assert run("quantize", hub, "--target", "android", "--out", alone).code == 0
    data = ["--calibration", FOLDER / "calibration.npz", "--limit", "4"]
    assert run("calibrate", hub, *data, "--out", statistics).code == 0
    assert run("quantize", hub, statistics, "--target", "android", "--out", both).code == 0
    assert alone.read_bytes() == both.read_bytes(), "the source knows every tensor"


def test_float_files_say_nothing_of_the_ranges(
    run: Any, quantized: Quantize, tmp_path: Path
) -> None:
    hub = tmp_path / "hub.onnx"
    assert run("export", quantized("QDQ", "QInt8", True), "--out", hub).code == 0
    assert onnx.load(hub).metadata_props
    for precision in ("fp32", "fp16", "w8"):
        source = hub
        if precision == "w8":
            source = tmp_path / "w8.onnx"
            flags = ["--target", "arm", "--precision", "w8", "--out", source]
            assert run("quantize", hub, *flags).code == 0
        out = tmp_path / precision
        flags = ["--target", "arm", "--precision", precision, "--out", out]
        assert run("emit", source, *flags).code == 0
        (file,) = out.glob("*.onnx")
        assert not onnx.load(file).metadata_props


def test_missing_data_is_told_once_the_source_is_known_to_bring_no_scales(
    run: Any, tiny: Any, tmp_path: Path
) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    dynamic = tmp_path / "dynamic.onnx"
    quantize_dynamic(tiny.model, dynamic, weight_type=QuantType.QInt8)
    outcome = run("build", dynamic, "--target", "arm", "--out", tmp_path / "dist")
    assert outcome.code == 2 and "calibration data is missing" in outcome.line
    assert not (tmp_path / "dist").exists()
    flags = ["--calibration", tiny.calibration, "--target", "arm", "--out", tmp_path / "dist"]
    assert run("build", dynamic, *flags).code == 0


def test_tensors_that_the_source_left_in_float_are_counted_and_named(
    run: Any, tiny: Any, tmp_path: Path
) -> None:
    model = onnx.load(tiny.model)
    for node in model.graph.node:
        if node.name == "conv":
            node.input[0] = "image_dequantized"
    scales = [
        onnx.numpy_helper.from_array(np.float32(0.05), "scale"),
        onnx.numpy_helper.from_array(np.int8(0), "zero"),
    ]
    model.graph.initializer.extend(scales)
    pair = [
        onnx.helper.make_node(QUANTIZE, ["image", "scale", "zero"], ["image_quantized"]),
        onnx.helper.make_node(
            DEQUANTIZE, ["image_quantized", "scale", "zero"], ["image_dequantized"]
        ),
    ]
    for place, node in enumerate(pair):
        model.graph.node.insert(place, node)
    path = tmp_path / "partly.onnx"
    onnx.save(model, path)
    flags = ["--target", "arm", "--out", tmp_path / "dist"]
    outcome = run("build", path, *flags)
    assert outcome.code == 2 and "calibration data is missing" in outcome.line
    assert "'raw', 'hidden', 'pooled'" in outcome.line and "--calibration" in outcome.line
    outcome = run("build", path, "--calibration", tiny.calibration, *flags)
    assert outcome.code == 0, outcome.err
    report = json.loads((tmp_path / "dist" / "report.json").read_text())
    assert report["calibration"]["data"] is not None
    assert report["calibration"]["reason"] == (
        "from the model's own scales, where its source has any"
    )
    found = activations(load(tmp_path / "dist" / "stages" / "qdq-arm.onnx"))
    assert found["image"] == QuantParams(float(np.float32(0.05)), 0)
