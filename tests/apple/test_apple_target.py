"""The target's surface: refusals, names, options, determinism, silence, sessions, findings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgewise.errors import (
    DeviceError,
    ModelError,
    UnsupportedOperator,
    UnsupportedPrecision,
    UsageError,
)
from edgewise.files import files_below
from edgewise.graph import save
from edgewise.targets import About, EmitOptions, Session, get
from edgewise.targets.apple import TARGET
from edgewise.targets.apple.table import LOWERINGS


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files_below(folder)}


def unsupported_model(make):
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["d"], name="noise"),
        helper.make_node("Add", ["d", "d"], ["e"], name="sum"),
        helper.make_node("RandomUniformLike", ["e"], ["y"], name="more"),
    ]
    return make.build_model(nodes, {"x": make.random(1, 3, 3)}, ["y"])


def test_an_unsupported_operator_is_named_before_anything_is_written(make, tmp_path):
    with pytest.raises(UnsupportedOperator) as caught:
        TARGET.emit(unsupported_model(make), tmp_path / "out", "fp16")
    error = caught.value
    assert (error.node, error.op_type, error.target) == ("noise", "RandomNormalLike", "Core ML")
    assert error.why and error.remedy
    assert list(tmp_path.iterdir()) == []


def test_check_lists_every_refusal(make):
    errors = [f for f in TARGET.check(unsupported_model(make)) if f.severity == "error"]
    assert [(f.rule, f.node) for f in errors] == [
        ("apple/unsupported-operator", "noise"),
        ("apple/unsupported-operator", "more"),
    ]
    assert all(f.remedy for f in errors)


REFUSED = {
    "random numbers": ("RandomNormalLike", [(2, 3)], {}),
    "an ambiguous resize": (
        "Resize", [(1, 2, 5, 5), None, np.array([1, 1, 0.7, 0.7], np.float32)],
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    ),
    "int16 activations": (
        "QuantizeLinear", [(2, 3), np.array(0.1, np.float32), np.array(0, np.int16)], {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_what_core_ml_lacks_is_refused(make, tmp_path, case):
    model = make.node(*case).model()
    precision = "w8a8" if case[0] == "QuantizeLinear" else "fp32"
    with pytest.raises(UnsupportedOperator) as caught:
        TARGET.emit(model, tmp_path / "out", precision)
    assert caught.value.node == "node" and caught.value.why and caught.value.remedy
    assert "coremltools refuses" not in caught.value.why  # foreseen, not stumbled over
    assert list(tmp_path.iterdir()) == []
    assert any(finding.severity == "error" for finding in TARGET.check(model))


def test_custom_domains_are_refused(make, tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"], name="mine")]
    model = make.build_model(nodes, {"x": make.random(2)}, ["y"])
    model.graph.node(0).domain = "mine"
    model.opset_imports["mine"] = 1
    with pytest.raises(UnsupportedOperator, match=r"mine\.Relu has no"):
        TARGET.emit(model, tmp_path / "out", "fp32")


@pytest.mark.parametrize(
    ("precision", "quantized", "remedy"),
    [("w8a8", False, "quantize it first"), ("fp16", True, "w8a8"), ("fp32", True, "w8a8")],
)
def test_model_and_precision_must_agree(make, tmp_path, precision, quantized, remedy):
    model = make.quantized_cnn() if quantized else make.node("Relu", [(2,)], {}).model()
    with pytest.raises(ModelError) as caught:
        TARGET.emit(model, tmp_path / "out", precision)
    assert remedy in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_inputs_that_core_ml_lacks(make, tmp_path):
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
    text = make.build_model(nodes, {"x": np.array(["a", "b"])}, ["y"])
    with pytest.raises(ModelError, match="input 'x'"):
        TARGET.emit(text, tmp_path / "out", "fp32")
    symbolic = make.node("Relu", [(2, 3)], {}).model()
    symbolic.graph.inputs[0].shape = ir.Shape([2, "width"])
    with pytest.raises(ModelError, match="static"):
        TARGET.emit(symbolic, tmp_path / "out", "fp32")


def test_precisions_and_schemes():
    palettes = ("palette8", "palette6", "palette4")
    assert TARGET.precisions == ("fp16", "w8a8", "w8", "w4", *palettes, "fp32")
    scheme = TARGET.scheme("int8")
    assert scheme.precision == "w8a8" and scheme.is_quantized
    assert not scheme.fold_activations and not scheme.bias_required
    assert scheme.activation is not None and scheme.activation.symmetric
    assert scheme.quantized_ops <= set(LOWERINGS)
    assert scheme.shared_scale_ops <= scheme.quantized_ops
    assert not TARGET.scheme("fp16").is_quantized
    with pytest.raises(UnsupportedPrecision, match="w8a16"):
        TARGET.scheme("w8a16")


@pytest.mark.parametrize(
    ("precision", "options"),
    [("fp16", {"speed": 1}), ("fp16", {"compute": "fp32"}), ("w8a8", {"compute": "int8"})],
)
def test_wrong_options(make, tmp_path, precision, options):
    with pytest.raises(UsageError):
        TARGET.emit(
            make.quantized_cnn(), tmp_path / "out", precision, options=EmitOptions(options=options)
        )
    assert list(tmp_path.iterdir()) == []


def test_names_that_core_ml_cannot_have(make, tmp_path):
    x = make.random(1, 3)
    names = {"in/0:a.1": "in_0_a_1", "state": "v_state", "0": "v_0", "in_0_a_1": "in_0_a_1_1"}
    nodes = [
        helper.make_node("Sum", list(names), ["out put"]),
        helper.make_node("Neg", ["out put"], ["out.put"]),
        helper.make_node("Abs", ["out.put"], ["fp16"]),
    ]
    model = make.build_model(nodes, dict.fromkeys(names, x), ["out put", "fp16", "out.put"])
    artifact = TARGET.emit(model, tmp_path, "fp32")
    assert {s.name: s.file_name for s in artifact.manifest.inputs} == names
    assert [(s.name, s.file_name) for s in artifact.manifest.outputs] == [
        ("out put", "out_put"), ("fp16", "v_fp16"), ("out.put", "out_put_1"),
    ]  # fmt: skip
    results = TARGET.open(artifact).run(dict.fromkeys(names, x))
    np.testing.assert_allclose(results["out put"], 4 * x, rtol=1e-6)
    np.testing.assert_allclose(results["out.put"], -4 * x, rtol=1e-6)


def test_an_input_as_output_and_a_constant_as_output(make, tmp_path):
    x, c = make.random(2, 3), make.random(4, seed=1)
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Identity", ["c"], ["fixed"]),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    model = make.build_model(nodes, {"x": x}, ["same", "fixed", "y"], {"c": c})
    results = TARGET.open(TARGET.emit(model, tmp_path, "fp32")).run({"x": x})
    np.testing.assert_array_equal(results["same"], x)
    np.testing.assert_array_equal(results["fixed"], c)
    np.testing.assert_array_equal(results["y"], np.maximum(x, 0))


def test_the_manifest(make, tmp_path):
    options = EmitOptions(name="net", labels=("a", "b"), preprocessing={"mean": [0.0]})
    artifact = TARGET.emit(make.quantized_cnn(), tmp_path, "int8", options=options)
    manifest = artifact.manifest
    assert artifact.path == tmp_path / "net.mlpackage" and artifact.path.is_dir()
    assert (manifest.target, manifest.precision) == ("apple", "w8a8")
    assert manifest.labels == ("a", "b") and manifest.preprocessing == {"mean": [0.0]}
    assert manifest.options["minimum_deployment_target"] == "iOS17"
    assert manifest.options["compute_precision"] == "fp16"
    assert "common::add_fp16_cast" in manifest.options["passes"]
    assert "common::int_op_canonicalization" not in manifest.options["passes"]
    assert (manifest.inputs[0].layout, manifest.outputs[0].layout) == ("NCHW", "")
    assert artifact.size_bytes == sum(p.stat().st_size for p in files_below(artifact.path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "net.mlpackage"]


def test_fp16_and_int8_shrink_the_weights(make, tmp_path):
    model = make.node("Gemm", [(1, 256), (256, 256)], {}).model()
    full = TARGET.emit(model, tmp_path / "full", "fp32").size_bytes
    half = TARGET.emit(model, tmp_path / "half", "fp16").size_bytes
    assert half < 0.55 * full


def test_the_given_model_stays_as_it_was(make, tmp_path):
    model = make.quantized_cnn(inner_pair=True)
    save(model, tmp_path / "before.onnx")
    TARGET.emit(model, tmp_path / "out", "w8a8")
    TARGET.check(model)
    save(model, tmp_path / "after.onnx")
    assert (tmp_path / "before.onnx").read_bytes() == (tmp_path / "after.onnx").read_bytes()


EMIT = (
    "import sys; from edgewise.targets.apple import TARGET;"
    "TARGET.emit(sys.argv[1], sys.argv[2], 'w8a8')"
)


def test_bytes_are_the_same_each_time_and_nothing_is_printed(make, tmp_path):
    save(make.quantized_cnn(), tmp_path / "net.onnx")
    make.node("Relu", [(2, 3)], {}).model()
    TARGET.check(make.quantized_cnn(seed=4))  # leaves nothing behind that names depend on
    TARGET.emit(tmp_path / "net.onnx", tmp_path / "here", "w8a8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EMIT, tmp_path / "net.onnx", tmp_path / "fresh"],
        capture_output=True, check=True, env={"PYTHONHASHSEED": "1", "PATH": ""},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (b"", b"")
    assert contents(tmp_path / "here") == contents(tmp_path / "fresh")


def test_nothing_is_printed_while_emitting_and_running(make, tmp_path, capfd):
    model = make.quantized_cnn()
    artifact = TARGET.emit(model, tmp_path, "w8a8")
    TARGET.check(model)
    TARGET.open(artifact).run({"x": make.random(1, 3, 12, 12)})
    assert capfd.readouterr() == ("", "")


def test_importing_the_target_does_not_import_coremltools():
    code = (
        "import sys; from edgewise.targets.apple import TARGET; TARGET.scheme('w8a8');"
        "sys.exit('coremltools' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_session(make, tmp_path):
    artifact = get("apple").emit(make.quantized_cnn(), tmp_path, "w8a8")
    feeds = {"x": make.random(1, 3, 12, 12)}
    session = TARGET.open(artifact.path, threads=1)
    assert isinstance(session, Session)
    assert session.latency_reason is not None and "interpreter" in session.latency_reason
    assert session.threads == 1 and "interpreter" in session.device
    with pytest.raises(UsageError, match="prepare"):
        session.invoke()
    session.prepare(feeds)
    session.invoke()
    with pytest.raises(UsageError, match="inputs are x"):
        session.run({"z": feeds["x"]})
    with pytest.raises(ModelError, match="shape"):
        session.run({"x": feeds["x"][:, :2]})
    with pytest.raises(ModelError, match="float64"):
        session.run({"x": feeds["x"].astype(np.float64)})
    session.close()
    with pytest.raises(DeviceError, match="closed"):
        session.run(feeds)


def test_devices(make, tmp_path):
    artifact = TARGET.emit(make.node("Relu", [(2,)], {}).model(), tmp_path, "fp32")
    with pytest.raises(DeviceError, match="there is no device 'phone'"):
        TARGET.open(artifact, "phone")
    with pytest.raises(DeviceError, match="unknown device 'adb:phone'"):
        TARGET.open(artifact, "adb:phone")
    if sys.platform != "darwin":
        with pytest.raises(DeviceError, match="no Mac here"):
            TARGET.open(artifact, "mac")


def test_fp16_is_close_to_the_float_model(make, matches_ort):
    node = make.node("Conv", [(1, 3, 9, 9), (4, 3, 3, 3), (4,)], {"pads": [1, 1, 1, 1]})
    matches_ort(node.model(), {"x": node.x}, precision="fp16", atol=0.05)


def test_coremltools_takes_the_package_for_its_own(make, tmp_path):
    from coremltools.libmodelpackage import ModelPackage

    from edgewise.targets.apple._coremltools import ct, quiet

    artifact = TARGET.emit(make.quantized_cnn(), tmp_path, "w8a8")
    assert ModelPackage.isValid(str(artifact.path))
    with quiet():
        model = ct.models.MLModel(str(artifact.path), skip_model_load=True)
    assert model.get_spec().specificationVersion == ct.target.iOS17
    assert [i.name for i in model.get_spec().description.input] == ["x"]
    assert "date" not in str(model.user_defined_metadata)


def test_the_package_says_who_made_it(make, tmp_path):
    from edgewise.targets.apple._coremltools import ct, quiet

    options = EmitOptions(about=About("Tells flowers.", "1.2", "Ana", "MIT"))
    artifact = TARGET.emit(make.quantized_cnn(), tmp_path, "w8a8", options=options)
    with quiet():
        model = ct.models.MLModel(str(artifact.path), skip_model_load=True)
    found = (model.short_description, model.version, model.author, model.license)
    assert found == ("Tells flowers.", "1.2", "Ana", "MIT")
