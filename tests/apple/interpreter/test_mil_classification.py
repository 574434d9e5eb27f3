"""Classifiers that coremltools made: `classify`, with texts and with whole numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Function, Program, ct, quiet
from edgewise.targets.apple.interpreter import Interpreter


def classifier(folder: Path, labels: list[Any]) -> Path:
    with quiet():
        placeholder = mb.placeholder(shape=(1, len(labels)))
        with Function({"x": placeholder}, opset_version=ct.target.iOS15) as function:
            shifted = mb.add(x=function.inputs["x"], y=np.arange(len(labels), dtype=np.float32))
            function.set_outputs([mb.softmax(x=shifted, axis=-1, name="y")])
        program = Program()
        program.add_function("main", function)
        model = ct.convert(
            program,
            source="milinternal",
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS15,
            compute_precision=ct.precision.FLOAT32,
            classifier_config=ct.ClassifierConfig(labels, predicted_feature_name="what"),
            skip_model_load=True,
        )
        path = folder / "classifier.mlpackage"
        model.save(str(path))
    return path


@pytest.mark.parametrize("labels", [["low", "mid", "high"], [30, 10, 20]], ids=["text", "number"])
def test_label_and_probabilities(tmp_path: Path, labels: list[Any]) -> None:
    interpreter = Interpreter(classifier(tmp_path, labels))
    assert interpreter.output_names == ["what", "what_probs"]
    x = np.array([[0.5, 3.0, 0.1]], np.float32)
    results = interpreter.run({"x": x})
    assert results["what"] == labels[1]
    weights = np.exp(x[0] + np.arange(3))
    assert list(results["what_probs"]) == labels
    np.testing.assert_allclose(
        list(results["what_probs"].values()), weights / weights.sum(), rtol=1e-6
    )
    label = interpreter.run({"x": np.array([[9, 0, 0]], np.float32)}, outputs=["what"])
    assert label == {"what": labels[0]}


def test_names_of_literals_do_not_collide(tmp_path: Path) -> None:
    """coremltools' reader calls the labels `const_0`, as the builder called the shift."""
    interpreter = Interpreter(classifier(tmp_path, ["a", "b"]))
    results = interpreter.run({"x": np.array([[0.0, -0.5]], np.float32)})
    assert results["what"] == "b"
    seen: list[str] = []
    interpreter.run(
        {"x": np.zeros((1, 2), np.float32)}, observe=lambda name, value: seen.append(name)
    )
    assert seen[-1] == "y"  # neither label nor dictionary is a tensor


def test_as_many_probabilities_as_classes(apply_kernel: Any) -> None:
    label, table = apply_kernel(
        "classify", probabilities=np.array([[0.2, 0.2]], np.float32), classes=["a", "b"]
    )
    assert label == "a" and list(table) == ["a", "b"]
    with pytest.raises(ValueError, match="1 probabilities for 2 classes"):
        apply_kernel("classify", probabilities=np.zeros((1, 1), np.float32), classes=["a", "b"])
