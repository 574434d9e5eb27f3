"""The committed digits sample: what the demo builds on."""

from __future__ import annotations

import importlib.util
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import edgewise.sample_models.digits as package
from edgewise.data import input_specs, open_source
from edgewise.exporters import export
from edgewise.exporters.quiet import quiet
from edgewise.graph import OrtSession, load, to_bytes

FOLDER = Path(package.__file__).parent


def accuracy(session: OrtSession, specs) -> float:
    source = open_source(FOLDER / "evaluation.npz", inputs=specs, require_labels=True)
    assert len(source) >= 360
    hits = [session.run(s.feeds)["logits"].argmax() == s.label for s in source]
    return float(np.mean(hits))


def test_the_model_is_about_99_percent_right():
    model = load(FOLDER / "digits.onnx")
    assert accuracy(OrtSession(model, optimize="all"), input_specs(model)) >= 0.99


def test_files_are_small_and_hold_no_path():
    files = [FOLDER / name for name in ("digits.onnx", "calibration.npz", "evaluation.npz")]
    assert sum(file.stat().st_size for file in files) < 500_000
    assert b".py" not in files[0].read_bytes()


def test_it_holds_what_makes_mobilenet_interesting():
    model = export(FOLDER / "digits.onnx").model
    counts = Counter(node.op_type for node in model.graph)
    depthwise = [
        node
        for node in model.graph
        if node.op_type == "Conv" and node.attributes.get_int("group", 1) > 1
    ]
    assert counts["Conv"] == 16 and len(depthwise) == 5
    assert counts["Clip"] == 11 and counts["Add"] == 3 and counts["Gemm"] == 1


def test_calibration_and_evaluation_do_not_overlap():
    with np.load(FOLDER / "calibration.npz") as a, np.load(FOLDER / "evaluation.npz") as b:
        seen = {image.tobytes() for image in a["image"]}
        assert len(a["image"]) == 200
        assert not any(image.tobytes() in seen for image in b["image"])
        assert set(b["label"].tolist()) == set(range(10))


def test_plain_int8_quantization_costs_at_most_half_a_point(tmp_path):
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.samples = iter(
                open_source(
                    FOLDER / "calibration.npz", inputs=input_specs(load(FOLDER / "digits.onnx"))
                )
            )

        def get_next(self):
            sample = next(self.samples, None)
            return None if sample is None else dict(sample.feeds)

    hub = export(FOLDER / "digits.onnx").model
    (tmp_path / "hub.onnx").write_bytes(to_bytes(hub))
    with quiet():
        quantize_static(
            tmp_path / "hub.onnx",
            tmp_path / "int8.onnx",
            Reader(),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
    specs = input_specs(hub)
    drop = accuracy(OrtSession(hub), specs) - accuracy(OrtSession(tmp_path / "int8.onnx"), specs)
    assert drop <= 0.005


def test_project_file_names_files_that_exist():
    project = tomllib.loads((FOLDER / "edgewise.toml").read_text())
    assert (FOLDER / project["model"]["source"]).is_file()
    assert (FOLDER / project["data"]["calibration"]).is_file()
    assert (FOLDER / project["data"]["evaluation"]).is_file()
    assert {t["precision"] for t in project["targets"].values()} == {"w8a8"}
    assert project["budget"]["accuracy_drop"] == 0.005


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or importlib.util.find_spec("sklearn") is None,
    reason="training needs torch and scikit-learn",
)
def test_training_again_gives_a_model_as_good(tmp_path, capsys):
    with quiet():
        from edgewise.sample_models.digits import train
    train.main(tmp_path)
    assert "held-out" in capsys.readouterr().out
    model = load(tmp_path / "digits.onnx")
    assert accuracy(OrtSession(model, optimize="all"), input_specs(model)) >= 0.99
    for name in ("calibration.npz", "evaluation.npz"):  # the data is that which is committed
        with np.load(tmp_path / name) as made, np.load(str(FOLDER / name)) as kept:
            assert made.files == kept.files  # versions of Python write other headers around them
            for key in kept.files:
                np.testing.assert_array_equal(made[key], kept[key])


@pytest.mark.slow
def test_training_with_three_bit_weights_wins_back_what_calibration_loses(tmp_path):
    from edgewise.sample_models.digits.train_quantized import gain

    found = gain("apple", 3, tmp_path / "trained.onnx", epochs=2)
    assert found.float_model > 0.99
    assert found.calibrated < 0.9 and found.trained > 0.97
    session = OrtSession(load(tmp_path / "trained.onnx"))
    assert accuracy(session, input_specs(load(FOLDER / "digits.onnx"))) > 0.97
