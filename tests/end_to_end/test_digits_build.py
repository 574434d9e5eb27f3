"""The product's promise on the digits sample: one command, three validated artifacts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import edgewise.targets
from edgewise import graph
from edgewise.files import files_below, sha256

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "sample_models" / "digits"
TARGETS = ("android", "apple", "arm")


def build(out: Path, *extra: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgewise", "build", str(SAMPLE / "edgewise.toml")]
    return subprocess.run(
        [*command, "--out", str(out), "--json", *extra], capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    out = tmp_path_factory.mktemp("digits") / "dist"
    run = build(out)
    assert run.returncode == 0, run.stderr
    yield out, json.loads(run.stdout)


@pytest.fixture(scope="module")
def evaluation() -> tuple[str, np.ndarray, np.ndarray]:
    with np.load(SAMPLE / "evaluation.npz") as data:
        labels = next(name for name in data.files if name in ("label", "labels", "y"))
        name = next(name for name in data.files if name != labels)
        return name, data[name], data[labels]


def test_layout_of_dist(dist: tuple[Path, dict[str, Any]]) -> None:
    out, _ = dist
    for name in (
        "report.html", "report.json", "android/digits.tflite", "android/manifest.json",
        "apple/digits.mlpackage/Manifest.json", "apple/manifest.json", "arm/digits.onnx",
        "arm/manifest.json", "stages/hub.onnx", *(f"stages/qdq-{t}.onnx" for t in TARGETS),
    ):  # fmt: skip
        assert (out / name).is_file(), name
    assert list((out / "stages").glob("statistics*"))


@pytest.mark.parametrize("target", TARGETS)
def test_int8_keeps_its_accuracy(dist: tuple[Path, dict[str, Any]], target: str) -> None:
    result = dist[1]["targets"][target]
    assert result["accuracy"]["fp32"] >= 0.98
    assert result["accuracy"]["drop"] <= 0.005
    assert all(row["ok"] for row in result["budget"])


def test_apple_latency_is_not_invented(dist: tuple[Path, dict[str, Any]]) -> None:
    if sys.platform == "darwin":
        pytest.skip("Core ML runs here")
    latency = dist[1]["targets"]["apple"]["latency"]
    assert latency["median_ms"] is None
    assert latency["reason"]


def test_tflite_equals_its_qdq_model_on_every_test_image(
    dist: tuple[Path, dict[str, Any]], evaluation: tuple[str, np.ndarray, np.ndarray]
) -> None:
    out, _ = dist
    name, images, _ = evaluation
    reference = graph.OrtSession(out / "stages/qdq-android.onnx")
    session = edgewise.targets.get("android").open(out / "android")
    (output,) = reference.output_names
    model = graph.load(out / "stages/qdq-android.onnx")
    producer = model.graph.outputs[0].producer()
    assert producer is not None and producer.op_type == "DequantizeLinear"
    step = float(graph.quantization_of(producer).scale)
    for image in images:
        feeds = {name: image[None]}
        expected = reference.run(feeds)[output]
        actual = session.run(feeds)[output]
        assert np.abs(actual - expected).max() <= 1.001 * step
        assert actual.argmax() == expected.argmax()


def activation_scales(model: ir.Model) -> set[tuple[float, int]]:
    """Scale and zero point of every activation of a QDQ model."""
    found = [
        graph.quantization_of(node) for node in model.graph if node.op_type == "QuantizeLinear"
    ]
    return {(float(q.scale), int(q.zero_point)) for q in found}


def test_tflite_file_carries_exactly_the_scales_of_its_qdq_model(
    dist: tuple[Path, dict[str, Any]],
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(dist[0] / "android/digits.tflite"))
    details = interpreter.get_tensor_details()
    stored = {
        (float(d["quantization_parameters"]["scales"][0]), int(d["quantization"][1]))
        for d in details
        if d["dtype"] == np.int8 and d["quantization_parameters"]["scales"].size == 1
    }
    expected = activation_scales(graph.load(dist[0] / "stages/qdq-android.onnx"))
    assert expected <= stored


def test_core_ml_package_carries_exactly_the_scales_of_its_qdq_model(
    dist: tuple[Path, dict[str, Any]],
) -> None:
    from coremltools.converters.mil.frontend.milproto.load import load

    from edgewise.targets.apple._coremltools import ct, quiet

    package = dist[0] / "apple/digits.mlpackage"
    with quiet():
        spec = ct.utils.load_spec(str(package))
        program = load(
            spec,
            specification_version=spec.specificationVersion,
            file_weights_dir=str(package / "Data/com.apple.CoreML/weights"),
        )
    operations = list(program.functions["main"].operations)
    # the package counts from 0 (uint8) what its QDQ model counts from -128 (int8)
    stored = {
        (
            float(op.scale.val),
            (int(op.zero_point.val) if op.zero_point else 0)
            - (128 if op.output_dtype.val == "uint8" else 0),
        )
        for op in operations
        if op.op_type == "quantize"
    }
    model = graph.load(dist[0] / "stages/qdq-apple.onnx")
    assert stored == activation_scales(model)
    weights = {
        q.scale.tobytes()
        for q in map(graph.quantization_of, dequantized_weights(model))
        if not q.per_tensor
    }
    kept = {
        op.scale.val.astype(np.float32).tobytes()
        for op in operations
        if op.op_type == "constexpr_affine_dequantize"
    }
    assert weights and weights <= kept


def dequantized_weights(model: ir.Model) -> list[ir.Node]:
    return [
        node
        for node in model.graph
        if node.op_type == "DequantizeLinear"
        and (data := graph.constant(node.inputs[0])) is not None
        and data.dtype == np.int8
    ]


def test_second_run_gives_the_same_bytes(dist: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    out, _ = dist
    assert build(tmp_path / "again").returncode == 0
    for folder in (*TARGETS, "stages"):
        first = {p.relative_to(out): sha256(p) for p in files_below(out / folder)}
        again = tmp_path / "again"
        second = {p.relative_to(again): sha256(p) for p in files_below(again / folder)}
        assert first == second


def test_a_missed_budget_is_exit_code_1(tmp_path: Path) -> None:
    run = build(tmp_path / "dist", "--target", "android", "--max-size-mb", "0.001")
    assert run.returncode == 1
    (row,) = (
        r
        for r in json.loads(run.stdout)["targets"]["android"]["budget"]
        if r["name"] == "max_size_mb"
    )
    assert not row["ok"]
    assert row["value"] > row["limit"]
    assert (tmp_path / "dist/android/digits.tflite").is_file()
