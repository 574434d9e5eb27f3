"""Repairs by the command line and the project file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import edgewise.sample_models.digits as digits
from edgewise import stages
from edgewise.calibration import model_hash
from edgewise.config import CalibrationTable
from edgewise.errors import UsageError
from edgewise.graph import load

SAMPLE = Path(digits.__file__).parent


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repairs")
    stages.export(SAMPLE / "digits.onnx", out=folder / "hub.onnx")
    data = SAMPLE / "calibration.npz"
    stages.calibrate(folder / "hub.onnx", data, limit=24, out=folder / "statistics.npz")
    return folder


def test_quantize_repairs_and_tells(calibrated, run):
    out = calibrated / "qdq.onnx"
    done = run(
        "quantize", str(calibrated / "hub.onnx"), str(calibrated / "statistics.npz"),
        "--target", "arm", "--repair", "equalize", "--repair", "bias_correction",
        "--calibration", str(SAMPLE / "calibration.npz"), "--limit", "24", "-o", str(out),
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "calibration/equalize" in done.out and "calibration/bias-correction" in done.out
    plain = stages.quantize(calibrated / "hub.onnx", calibrated / "statistics.npz", target="arm")
    assert model_hash(load(out)) != model_hash(plain)


def test_repairs_need_the_data(calibrated):
    with pytest.raises(UsageError, match="calibration data is missing"):
        stages.quantize(
            calibrated / "hub.onnx",
            calibrated / "statistics.npz",
            target="arm",
            repairs=["equalize"],
        )


def test_a_precision_with_float_activations_says_that_nothing_was_repaired(calibrated):
    findings = []
    stages.quantize(
        calibrated / "hub.onnx", target="apple", precision="w8", repairs=["equalize"],
        findings=findings,
    )  # fmt: skip
    assert findings[0].rule == "calibration/repairs-left-out"
    assert "leaves activations in float" in findings[0].message


def test_the_project_file_names_repairs_once():
    assert CalibrationTable(repairs=["equalize"]).repairs == ("equalize",)
    for wrong in (["equalise"], ["equalize", "equalize"]):
        with pytest.raises(ValueError):
            CalibrationTable(repairs=wrong)


@pytest.mark.slow
def test_a_build_repairs_and_reports_it(tmp_path, run):
    done = run(
        "build", str(SAMPLE / "digits.onnx"), "--target", "arm",
        "--calibration", str(SAMPLE / "calibration.npz"),
        "--evaluation", str(SAMPLE / "evaluation.npz"), "--limit", "24",
        "--repair", "bias_correction", "--out", str(tmp_path / "dist"),
    )  # fmt: skip
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "dist" / "report.json").read_text())
    assert report["calibration"]["repairs"] == ["bias_correction"]
    rules = {finding["rule"] for finding in report["targets"]["arm"]["findings"]}
    assert "calibration/bias-correction" in rules
