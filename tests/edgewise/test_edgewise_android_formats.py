"""Every precision of the android target, from a project file and from single commands."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.targets.android import TARGET
from edgewise.targets.manifest import load_artifact
from edgewise.targets.validation import LatencyPlan, latency


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products of 64 x 64 with Relu between, labelled data, no precision yet."""
    folder = tmp_path_factory.mktemp("formats")
    rng = np.random.default_rng(11)
    constants = {
        name: rng.normal(0, 0.15, shape).astype(np.float32)
        for name, shape in (("w1", (64, 64)), ("b1", (64,)), ("w2", (64, 64)))
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "w2"], ["scores"], "second"),
    ]
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(proto, folder / "model.onnx")
    data = rng.normal(size=(40, 64)).astype(np.float32)
    np.savez(folder / "data.npz", x=data, label=np.arange(40) % 64)
    return folder


def _write(project: Path, name: str, target: str, data: str = "") -> Path:
    path = project / f"{name}.toml"
    path.write_text(
        f"[model]\nsource = 'model.onnx'\n[data]\nevaluation = 'data.npz'\n{data}"
        f"[output]\ndir = '{name}'\n[targets.android]\n{target}\n"
    )
    return path


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency is not what is tested here: a few runs do."""
    plan = partial(LatencyPlan, 0.0, 2, 2, 0.001, (2, 3), 1)
    monkeypatch.setattr(latency, "LatencyPlan", plan)


@pytest.mark.parametrize(
    ("name", "target", "size", "loss"),
    [
        ("fp16", "precision = 'fp16'", 0.62, 1e-3),
        ("w8", "precision = 'w8'", 0.40, 0.02),
        ("w4", "precision = 'w4'", 0.27, 0.2),
        ("w4-channel", "precision = 'w4'\nblock_size = 0", 0.27, 0.2),
        ("w8a8", "precision = 'w8a8'", 0.40, 0.05),
        ("w8a16", "precision = 'w8a16'", 0.40, 0.02),
    ],
)
def test_a_build_is_complete(
    run: Any, hasty: None, project: Path, name: str, target: str, size: float, loss: float
) -> None:
    """Calibration data is named only where activations are quantized."""
    quantizes = name.startswith("w8a")
    data = "calibration = 'data.npz'\n" if quantizes else ""
    outcome = run("build", _write(project, name, target, data), "--json")
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    (result,) = report["targets"].values()
    assert result["size_bytes"] < size * result["size_fp32_bytes"]
    noise = 10 ** (-result["accuracy"]["sqnr_db"] / 20)
    assert 0 < noise < loss
    equivalence = result["equivalence"]
    assert equivalence["samples"] == 40
    assert equivalence["bits"] == {"w8a8": 8, "w8a16": 16}.get(name)
    assert (report["calibration"]["data"] is not None) == quantizes
    stages = sorted(path.name for path in (project / name / "stages").iterdir())
    assert ("qdq-android.onnx" in stages) == (name != "fp16")
    assert ("statistics.npz" in stages) == quantizes
    again = run("validate", project / name / "android", "--evaluation", project / "data.npz")
    assert again.code == 0, again.err


def test_stages_without_data(run: Any, project: Path, tmp_path: Path) -> None:
    hub, qdq = tmp_path / "hub.onnx", tmp_path / "qdq.onnx"
    assert run("export", project / "model.onnx", "--out", hub).code == 0
    flags = ["--target", "android", "--precision", "w4"]
    outcome = run("quantize", hub, *flags, "--out", qdq)
    assert (outcome.code, outcome.out) == (0, f"QDQ model: {qdq}\n"), outcome.err
    kinds = [node.op_type for node in onnx.load(qdq).graph.node]
    assert kinds.count("DequantizeLinear") == 2 and "QuantizeLinear" not in kinds
    outcome = run("emit", qdq, *flags, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    artifact = load_artifact(tmp_path / "out")
    assert artifact.manifest.options["block_size"] == 32
    session = TARGET.open(artifact)
    assert session.run({"x": np.ones((1, 64), np.float32)})["scores"].shape == (1, 64)


def test_the_block_size_reaches_the_quantizer(run: Any, project: Path, tmp_path: Path) -> None:
    file = _write(project, "blocks", "precision = 'w4'\nblock_size = 64")
    qdq = tmp_path / "qdq.onnx"
    flags = ["--target", "android", "--project", file, "--out", qdq]
    outcome = run("quantize", project / "model.onnx", *flags)
    assert outcome.code == 0, outcome.err
    sizes = {
        attribute.i
        for node in onnx.load(qdq).graph.node
        for attribute in node.attribute
        if attribute.name == "block_size"
    }
    assert sizes == {64}


def test_what_is_missing_or_wrong_is_told_before_any_work(
    run: Any, project: Path, tmp_path: Path
) -> None:
    model = project / "model.onnx"
    outcome = run("quantize", model, "--target", "android", "--precision", "w8a16")
    assert outcome.code == 2
    assert "statistics are missing" in outcome.line and "weights alone (w8, w4" in outcome.line
    outcome = run("build", _write(project, "nodata", "precision = 'w8a16'"))
    assert outcome.code == 2 and "calibration data is missing" in outcome.line
    outcome = run("build", _write(project, "odd", "precision = 'w4'\nblock_size = 33"))
    assert outcome.code == 2 and "'block_size' is 33" in outcome.line
    outcome = run("build", _write(project, "lost", "precision = 'w8'\nblock_size = 32"))
    assert outcome.code == 2 and "has no meaning in precision w8" in outcome.line
    outcome = run("emit", model, "--target", "android", "--precision", "bf16")
    assert outcome.code == 3 and "w8a8, w8a16, w8, w4, fp16, fp32" in outcome.line
