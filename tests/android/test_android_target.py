"""The target as a whole: precisions, refusals that write nothing, options, ends, metadata."""

from __future__ import annotations

import json
import platform
import zipfile
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx_ir as ir
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgewise.calibration.scheme import QMAX
from edgewise.errors import (
    DataError,
    DeviceError,
    InternalError,
    ModelError,
    UnsupportedOperator,
    UnsupportedPrecision,
    UsageError,
)
from edgewise.targets import get
from edgewise.targets.android import runtime
from edgewise.targets.android.ops.table import INT8_OPERATORS, LOWERINGS
from edgewise.targets.base import EmitOptions, Session, Target

TARGET = get("android")


def _float_model(kit: Any) -> Any:
    x = {"x": np.zeros((1, 3, 4, 5), np.float32)}
    return kit.model([kit.node("Relu", ["x"], ["y"])], x, {"y": np.float32})


def _int8_model(kit: Any) -> Any:
    x = {"x": np.zeros((1, 3, 4, 5), np.float32)}
    return kit.int8_model(kit.node("Relu", ["x"], ["y"]), x, (0.1, -128))


def test_it_is_a_target() -> None:
    target: Target = TARGET
    assert (target.name, target.precisions) == (
        "android",
        ("w8a8", "w8a16", "w8", "w4", "fp16", "fp32"),
    )


def test_the_scheme() -> None:
    scheme = TARGET.scheme("int8")
    assert scheme is TARGET.scheme("w8a8")
    assert scheme.activation is not None and scheme.weight is not None
    assert (scheme.activation.dtype, scheme.activation.symmetric) == ("int8", False)
    assert scheme.weight.granularity == "per_channel" and scheme.weight.narrow_range
    assert QMAX[scheme.weight.dtype] == 127
    assert scheme.quantized_ops <= INT8_OPERATORS <= set(LOWERINGS)
    assert scheme.shared_scale_ops <= scheme.quantized_ops
    assert set(scheme.fixed_outputs) <= scheme.quantized_ops
    assert not TARGET.scheme("fp32").is_quantized


def test_unknown_precisions_are_refused(kit: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedPrecision, match="does not offer 'bf16'"):
        TARGET.scheme("bf16")
    with pytest.raises(UnsupportedPrecision):
        TARGET.emit(_float_model(kit), tmp_path / "out", "bf16")
    assert not (tmp_path / "out").exists()


def test_the_precision_must_fit_the_model(kit: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"needs a quantized model.*Calibrate"):
        TARGET.emit(_float_model(kit), tmp_path / "out", "w8a8")
    with pytest.raises(ModelError, match=r"needs a float model.*precision w8a8"):
        TARGET.emit(_int8_model(kit), tmp_path / "out", "fp32")
    assert not (tmp_path / "out").exists()


def test_unsupported_operators_are_all_found_and_nothing_is_written(
    kit: Any, tmp_path: Path
) -> None:
    x = {"x": np.ones((1, 3, 4, 5), np.float32)}
    nodes = [
        kit.node("Det", ["m"], ["d"]),
        kit.node("Add", ["x", "d"], ["a"]),
        kit.node("Unique", ["a"], ["y"], axis=0),
    ]
    feeds = {**x, "m": np.ones((9, 9), np.float32)}
    source = kit.model(nodes, feeds, {"y": np.float32})
    found = [f for f in TARGET.check(source) if f.severity == "error"]
    assert [f.node for f in found] == ["n_d", "n_y"]
    assert all(f.rule == "android/unsupported-operator" and f.remedy for f in found)
    with pytest.raises(UnsupportedOperator, match=r"node 'n_d' \(Det\)"):
        TARGET.emit(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_symbolic_shapes_are_refused(kit: Any, tmp_path: Path) -> None:
    source = _float_model(kit)
    source.graph.inputs[0].shape = ir.Shape([1, 3, "height", 5])
    source.graph.outputs[0].shape = None
    with pytest.raises(ModelError, match=r"shape must be static.*input_shapes"):
        TARGET.emit(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_symbolic_batch_becomes_one(kit: Any, tmp_path: Path) -> None:
    source = _float_model(kit)
    source.graph.inputs[0].shape = ir.Shape(["batch", 3, 4, 5])
    artifact = TARGET.emit(source, tmp_path)
    assert artifact.manifest.inputs[0].shape == (1, 4, 5, 3)


def test_data_types_without_a_tflite_form_are_refused(kit: Any, tmp_path: Path) -> None:
    x = {"x": np.zeros((2, 3), np.float64)}
    source = kit.model([kit.node("Abs", ["x"], ["y"])], x, {"y": np.float64})
    with pytest.raises(ModelError, match="'x' is float64, and TFLite has no kernels"):
        TARGET.emit(source, tmp_path / "out")


def test_a_file_that_the_runtime_refuses_is_never_left_behind(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(model: bytes, threads: int) -> None:
        raise runtime.LoadFailure("kernel says no")

    monkeypatch.setattr(runtime, "load", refuse)
    with pytest.raises(InternalError, match="kernel says no"):
        TARGET.emit(_float_model(kit), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_refused_file_raises_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(runtime.LoadFailure):
        runtime.load(b"no model at all" * 10, threads=1)
    assert capfd.readouterr().err == ""


def test_loading_is_silent(kit: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    TARGET.open(TARGET.emit(_float_model(kit), tmp_path)).close()
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_int8_and_float_ends(execute: Any, kit: Any, rng: Any) -> None:
    source = _int8_model(kit)
    x = rng.standard_normal((1, 3, 4, 5), np.float32)
    run = execute(source, {"x": x}, "w8a8")
    signature = run.artifact.manifest.inputs[0]
    assert (signature.dtype, signature.layout, signature.shape) == ("int8", "NHWC", (1, 4, 5, 3))
    assert run.artifact.manifest.outputs[0].zero_point == -128
    options = EmitOptions(options={"io": "float"})
    float_run = execute(source, {"x": x}, "w8a8", options=options)
    ends = (float_run.artifact.manifest.inputs[0], float_run.artifact.manifest.outputs[0])
    assert [(end.dtype, end.scale) for end in ends] == [("float32", None)] * 2
    assert np.array_equal(run.outputs["y"], float_run.outputs["y"])
    assert kit.kinds(source, float_io=True)[0] == "QUANTIZE"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"io": "int4"}, r"option 'io' is 'int4'\. Allowed: float"),
        ({"io": "int8"}, "io = 'int8' contradicts precision fp32"),
        ({"layout": "nhcw"}, r"option 'layout' is 'nhcw'\. Allowed: NHWC, NCHW"),
        ({"batch": 0}, "option 'batch' is 0"),
        ({"batch": True}, "option 'batch' is True"),
        ({"fold_preprocessing": 1}, r"is 1\. Allowed: true, false"),
        ({"colour": "x"}, "unknown option 'colour'"),
    ],
)
def test_unknown_options_are_refused(kit: Any, tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TARGET.emit(_float_model(kit), tmp_path, options=EmitOptions(options=options))


@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_names_that_are_no_file_names_are_refused(kit: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a file name"):
        TARGET.emit(_float_model(kit), tmp_path / "out", options=EmitOptions(name=name))


def test_two_emits_give_the_same_bytes(kit: Any, tmp_path: Path) -> None:
    options = EmitOptions(labels=("a", "b"), preprocessing={"mean": [1, 2, 3], "std": [4, 5, 6]})
    folders = (tmp_path / "one", tmp_path / "two")
    for folder in folders:
        TARGET.emit(_int8_model(kit), folder, "w8a8", options=options)
    for name in ("model.tflite", "manifest.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_the_manifest_describes_the_file(kit: Any, tmp_path: Path) -> None:
    artifact = TARGET.emit(_float_model(kit), tmp_path, options=EmitOptions(name="net"))
    document = json.loads((tmp_path / "manifest.json").read_text())
    assert document["files"]["net.tflite"]["size_bytes"] == artifact.path.stat().st_size
    assert document["versions"]["ai-edge-litert"]
    assert document["inputs"][0]["perm"] == [0, 2, 3, 1]
    assert TARGET.open(tmp_path).run({"x": np.ones((1, 3, 4, 5), np.float32)})["y"].max() == 1


def test_metadata_and_labels_are_in_the_file(kit: Any, tmp_path: Path) -> None:
    options = EmitOptions(
        name="net",
        labels=("cat", "dog"),
        preprocessing={"mean": [127.0, 128.0, 129.0], "std": [1.0, 2.0, 3.0], "color": "rgb"},
    )
    path = TARGET.emit(_float_model(kit), tmp_path, options=options).path
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt") == b"cat\ndog\n"
        assert archive.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)
    model = schema.ModelT.InitFromPackedBuf(bytearray(path.read_bytes()))
    entry = next(e for e in model.metadata if e.name == b"TFLITE_METADATA")
    content = bytes(model.buffers[entry.buffer].data)
    assert content[4:8] == b"M001"
    assert _metadata(content) == ("net", "x", [127.0, 128.0, 129.0], [1.0, 2.0, 3.0], "labels.txt")


def _metadata(content: bytes) -> tuple[str, str, list[float], list[float], str]:
    """Read back by field number: model name, input name, mean, std, file of the output."""

    def table(position: int) -> Any:
        return flatbuffers.table.Table(bytearray(content), position)

    def child(parent: Any, slot: int) -> Any:
        return table(parent.Indirect(parent.Offset(slot) + parent.Pos))

    def first(parent: Any, slot: int) -> Any:
        return table(parent.Indirect(parent.Vector(parent.Offset(slot))))

    def text(parent: Any, slot: int) -> str:
        return bytes(parent.String(parent.Offset(slot) + parent.Pos)).decode()

    def floats(parent: Any, slot: int) -> list[float]:
        offset = parent.Offset(slot)
        start, count = parent.Vector(offset), parent.VectorLen(offset)
        return [float(v) for v in np.frombuffer(content, np.float32, count, start)]

    root = table(flatbuffers.encode.Get(flatbuffers.packer.uoffset, content, 0))
    subgraph = first(root, 10)
    source, result = first(subgraph, 8), first(subgraph, 10)
    normalization = child(first(source, 12), 6)
    return (
        text(root, 4),
        text(source, 4),
        floats(normalization, 4),
        floats(normalization, 6),
        text(first(result, 16), 4),
    )


def test_a_session_keeps_its_contract(kit: Any, tmp_path: Path) -> None:
    session = TARGET.open(TARGET.emit(_float_model(kit), tmp_path), threads=2)
    assert isinstance(session, Session)
    assert (session.device, session.threads, session.latency_reason) == (
        f"local ({platform.machine()})",
        2,
        None,
    )
    assert [finding.rule for finding in session.findings] == ["android/measured-off-device"]
    x = np.full((1, 3, 4, 5), -1, np.float32)
    session.prepare({"x": x})
    session.invoke()
    assert session.run({"x": x})["y"].max() == 0
    with pytest.raises(UsageError, match="given z; expected x"):
        session.run({"z": x})
    with pytest.raises(DataError, match=r"has the shape \(1, 4, 5, 3\)"):
        session.run({"x": np.zeros((1, 4, 5, 3), np.float32)})
    session.close()
    with pytest.raises(DeviceError, match="closed"):
        session.run({"x": x})


def test_what_is_no_device_is_refused(kit: Any, tmp_path: Path) -> None:
    artifact = TARGET.emit(_float_model(kit), tmp_path)
    with pytest.raises(DeviceError, match="there is no device 'toaster'"):
        TARGET.open(artifact, device="toaster")
