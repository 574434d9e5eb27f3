"""From a QDQ or float model to a file, and back through ONNX Runtime."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

import edgewise.targets
from edgewise.errors import DataError, DeviceError, ModelError, UnsupportedPrecision, UsageError
from edgewise.graph import OrtSession, load
from edgewise.targets import EmitOptions
from edgewise.targets.arm import TARGET
from edgewise.targets.arm.fusion import optimize_as_on_arm
from edgewise.targets.arm.session import ArmSession
from edgewise.targets.base import Session, Target
from edgewise.targets.host_cpu import HostCpu

Cnn = tuple[Path, Path]


def pictures(count: int) -> np.ndarray:
    generator = np.random.default_rng(7)
    return generator.standard_normal((count, 3, 16, 16)).astype(np.float32)


def test_is_the_target_of_the_table() -> None:
    target: Target = edgewise.targets.get("arm")
    assert target is TARGET
    assert target.precisions == ("w8a8", "w8", "w4", "fp16", "fp32")


def test_scheme() -> None:
    scheme = TARGET.scheme("w8a8")
    assert scheme.activation is not None and scheme.weight is not None
    assert (scheme.activation.dtype, scheme.activation.symmetric) == ("int8", False)
    assert (scheme.weight.granularity, scheme.weight.narrow_range) == ("per_channel", True)
    assert not TARGET.scheme("fp32").is_quantized
    with pytest.raises(UnsupportedPrecision, match=r"no kernel for 16-bit.+w8a8, w8, w4, fp16"):
        TARGET.scheme("w8a16")


def test_quantized_file_equals_the_qdq_model(cnn: Cnn, tmp_path: Path) -> None:
    artifact = TARGET.emit(cnn[1], tmp_path, "w8a8", options=EmitOptions(name="cnn"))
    assert artifact.path == tmp_path / "cnn.onnx"
    assert artifact.findings == ()
    onnx.checker.check_model(onnx.load(artifact.path), full_check=True)
    feeds = {"image": pictures(32)}
    literal, written = OrtSession(cnn[1]).run(feeds), OrtSession(artifact.path).run(feeds)
    scale = float(load(cnn[1]).graph.outputs[0].producer().inputs[1].const_value.numpy())  # type: ignore[union-attr]
    assert np.abs(written["logits"] - literal["logits"]).max() <= 1.001 * scale


def test_everything_runs_in_integers(cnn: Cnn, tmp_path: Path) -> None:
    artifact = TARGET.emit(cnn[1], tmp_path, "w8a8")
    counts = Counter(node.op_type for node in optimize_as_on_arm(load(artifact.path)).graph)
    assert counts == {
        "QuantizeLinear": 1, "QLinearConv": 2, "QLinearAdd": 1, "QLinearGlobalAveragePool": 1,
        "Reshape": 1, "QGemm": 1, "DequantizeLinear": 1,
    }  # fmt: skip


def test_session_keeps_the_symbolic_batch(cnn: Cnn, tmp_path: Path) -> None:
    artifact = TARGET.emit(cnn[0], tmp_path, "fp32")
    assert artifact.manifest.inputs[0].shape == ("batch", 3, 16, 16)
    session: Session = TARGET.open(tmp_path)
    images = pictures(5)
    together = session.run({"image": images})["logits"]
    expected = OrtSession(cnn[0]).run({"image": images})["logits"]
    np.testing.assert_allclose(together, expected, atol=1e-5)
    assert session.run({"image": images[:1]})["logits"].shape == (1, 5)
    session.close()


def test_batch_option_fixes_it(cnn: Cnn, tmp_path: Path) -> None:
    options = EmitOptions(options={"batch": 2})
    artifact = TARGET.emit(cnn[1], tmp_path, "w8a8", options=options)
    assert artifact.manifest.inputs[0].shape == (2, 3, 16, 16)
    assert TARGET.open(artifact).run({"image": pictures(2)})["logits"].shape == (2, 5)
    assert TARGET.open(artifact).run({"image": pictures(1)})["logits"].shape == (1, 5)
    with pytest.raises(DataError, match=r"built for \(2, 3, 16, 16\)"):
        TARGET.open(artifact).run({"image": pictures(3)})


@pytest.mark.parametrize("options", [{"batch": 0}, {"batch": True}, {"batch": "2"}, {"bach": 1}])
def test_wrong_options(options: dict[str, object], cnn: Cnn, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\[targets.arm\]"):
        TARGET.emit(cnn[0], tmp_path / "out", options=EmitOptions(options=options))
    assert not (tmp_path / "out").exists()


def test_manifest(cnn: Cnn, tmp_path: Path) -> None:
    options = EmitOptions(name="cnn", labels=("a", "b"), preprocessing={"mean": [0]})
    artifact = TARGET.emit(cnn[1], tmp_path, "w8a8", options=options)
    document = json.loads((tmp_path / "manifest.json").read_bytes())
    assert document["labels"] == ["a", "b"]
    assert document["options"]["session"]["graph_optimization_level"] == "ORT_ENABLE_ALL"
    assert document["files"]["cnn.onnx"]["size_bytes"] == artifact.path.stat().st_size
    assert document["inputs"][0]["layout"] == "NCHW"
    assert document["inputs"][0]["dtype"] == "float32"
    assert {"edgewise", "onnx", "onnxruntime"} <= set(document["versions"])


def test_same_bytes_twice(cnn: Cnn, tmp_path: Path) -> None:
    for precision, model in (("w8a8", cnn[1]), ("fp32", cnn[0])):
        first = TARGET.emit(model, tmp_path / "1", precision)
        again = TARGET.emit(load(model), tmp_path / "2", precision)
        assert first.path.read_bytes() == again.path.read_bytes()
        manifests = [(a.path.parent / "manifest.json").read_bytes() for a in (first, again)]
        assert manifests[0] == manifests[1]


def test_emit_leaves_the_given_model_alone(cnn: Cnn, tmp_path: Path) -> None:
    model = load(cnn[1])
    before = [node.op_type for node in model.graph]
    TARGET.emit(model, tmp_path, "w8a8")
    assert [node.op_type for node in model.graph] == before


def test_precision_must_fit_the_model(cnn: Cnn, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="needs a quantized model"):
        TARGET.emit(cnn[0], tmp_path / "out", "w8a8")
    with pytest.raises(ModelError, match="needs a float model"):
        TARGET.emit(cnn[1], tmp_path / "out", "fp32")
    assert not (tmp_path / "out").exists()


def test_check_marks_what_emit_refuses(cnn: Cnn) -> None:
    assert TARGET.check(load(cnn[0])) == []
    broken = load(cnn[0])
    broken.graph.node("relu1").op_type = "Mystery"
    (finding,) = TARGET.check(broken)
    assert (finding.severity, finding.node) == ("error", "relu1")


def test_other_formats_are_remarked(cnn: Cnn, tmp_path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._feeds = iter([{"image": pictures(1)}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._feeds, None)

    out = tmp_path / "u8.onnx"
    quantize_static(cnn[0], out, Reader(), activation_type=QuantType.QUInt8)
    assert "arm/not-s8s8" in [finding.rule for finding in TARGET.check(load(out))]


@pytest.mark.parametrize("device", ["toaster", "emulated:pentium", "ssh://", "mac"])
def test_what_is_no_arm_device_is_refused(device: str, cnn: Cnn, tmp_path: Path) -> None:
    artifact = TARGET.emit(cnn[0], tmp_path)
    with pytest.raises(DeviceError, match=device):
        TARGET.open(artifact, device)


def test_session_names_its_device(cnn: Cnn, tmp_path: Path) -> None:
    artifact = TARGET.emit(cnn[1], tmp_path, "w8a8")
    host = HostCpu("x86_64", frozenset())
    session = ArmSession(artifact.path, artifact.manifest, threads=2, host=host)
    assert session.device == "local (x86_64)"
    assert session.threads == 2
    assert session.latency_reason is None
    assert [f.rule for f in session.findings] == ["arm/measured-on-x86", "arm/saturating-host"]


def test_invoke_needs_prepare(cnn: Cnn, tmp_path: Path) -> None:
    session = TARGET.open(TARGET.emit(cnn[1], tmp_path, "w8a8"))
    with pytest.raises(UsageError, match="prepare"):
        session.invoke()
    session.prepare({"image": pictures(1)})
    session.invoke()
    session.close()
    with pytest.raises(DeviceError, match="closed"):
        session.invoke()


def test_wrong_input_name(cnn: Cnn, tmp_path: Path) -> None:
    session = TARGET.open(TARGET.emit(cnn[1], tmp_path, "w8a8"))
    with pytest.raises(UsageError, match="expected image"):
        session.run({"picture": pictures(1)})


def test_artifact_of_another_target_is_refused(cnn: Cnn, tmp_path: Path) -> None:
    TARGET.emit(cnn[0], tmp_path)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"target": "arm"', '"target": "android"'))
    with pytest.raises(UsageError, match="made for android"):
        TARGET.open(tmp_path)
