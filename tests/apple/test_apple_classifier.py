"""Packages that name classes: their description, their numbers, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from edgewise.errors import ModelError, UsageError
from edgewise.graph import OrtSession, prepare
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET
from edgewise.targets.apple._coremltools import ct
from edgewise.targets.apple.interpreter import Interpreter

LABELS = ("ant", "bee", "cat", "dog", "eel")


def model_of(make, *, softmax=True, outputs=("p",), name="p"):
    """Classes of a vector; the second output is the hidden layer."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "w2", "b"], ["scores" if softmax else name]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["scores"], [name], axis=-1))
    constants = {"w1": make.random(6, 7), "w2": make.random(7, 5), "b": make.random(5)}
    return make.build_model(nodes, {"x": make.random(1, 6)}, list(outputs), constants)


def wanted(classifier=True, labels=LABELS):
    return EmitOptions(labels=labels, options={"classifier": classifier})


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_labels_and_values(make, tmp_path, precision):
    model = model_of(make, outputs=("hidden", "p"))
    artifact = TARGET.emit(model, tmp_path, precision, options=wanted())
    description = ct.utils.load_spec(str(artifact.path)).description
    assert description.predictedFeatureName == "classLabel"
    assert description.predictedProbabilitiesName == "classLabel_probs"
    kinds = {feature.name: feature.type.WhichOneof("Type") for feature in description.output}
    assert kinds == {
        "classLabel": "stringType", "classLabel_probs": "dictionaryType",
        "hidden": "multiArrayType",
    }  # fmt: skip

    x = make.random(1, 6, seed=5)
    expected = OrtSession(prepare(model, batch=1)).run({"x": x})
    results = TARGET.open(artifact.path).run({"x": x})
    tolerance = 1e-5 if precision == "fp32" else 0.1
    assert set(results) == {"p", "hidden"}
    for name, reference in expected.items():
        assert results[name].shape == reference.shape and results[name].dtype == reference.dtype
        np.testing.assert_allclose(results[name], reference, atol=tolerance)

    raw = Interpreter(artifact.path).run({"x": x})
    assert raw["classLabel"] == LABELS[int(expected["p"].argmax())]
    assert list(raw["classLabel_probs"]) == list(LABELS)
    assert list(raw["classLabel_probs"].values()) == results["p"][0].tolist()


def test_names_are_in_the_manifest(make, tmp_path):
    artifact = TARGET.emit(model_of(make), tmp_path, "fp32", options=wanted())
    assert artifact.manifest.outputs[0].file_name == "classLabel_probs"
    assert artifact.manifest.labels == LABELS
    assert artifact.manifest.options["classifier"] == {
        "label": "classLabel", "probabilities": "classLabel_probs",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["classLabel", "classLabel_probs"])
def test_a_model_with_these_names_keeps_them(make, tmp_path, name):
    model = model_of(make, outputs=(name,), name=name)
    artifact = TARGET.emit(model, tmp_path, "fp32", options=wanted())
    assert artifact.manifest.options["classifier"]["label"] == "classLabel_1"
    x = make.random(1, 6)
    expected = OrtSession(prepare(model, batch=1)).run({"x": x})[name]
    np.testing.assert_allclose(TARGET.open(artifact).run({"x": x})[name], expected, atol=1e-5)


def test_scores_are_remarked(make, tmp_path):
    scores = TARGET.emit(model_of(make, softmax=False), tmp_path / "a", "fp32", options=wanted())
    assert [f.severity for f in scores.findings if f.rule == "apple/classifier-scores"] == ["info"]
    proper = TARGET.emit(model_of(make), tmp_path / "b", "fp32", options=wanted())
    assert not [f for f in proper.findings if f.rule == "apple/classifier-scores"]


def test_the_output_can_be_named(make, tmp_path):
    model = model_of(make, outputs=("p", "scores"))
    with pytest.raises(ModelError, match="several outputs have a value for each of 5 labels"):
        TARGET.emit(model, tmp_path / "out", "fp32", options=wanted())
    artifact = TARGET.emit(model, tmp_path / "out", "fp32", options=wanted("scores"))
    files = {output.name: output.file_name for output in artifact.manifest.outputs}
    assert files == {"p": "p", "scores": "classLabel_probs"}


REFUSED = {
    "no labels": (True, (), UsageError, "there are no labels"),
    "too few": (True, LABELS[:4], ModelError, "no output has a value for each of 4 labels"),
    "twice": (True, (*LABELS[:4], "ant"), UsageError, "label 'ant' occurs twice"),
    "unknown output": ("q", LABELS, UsageError, "no output 'q'"),
    "no flag": (1, LABELS, UsageError, "option 'classifier' is 1"),
    "wrong output": ("hidden", LABELS, ModelError, "no output has a value for each of 5 labels"),
}


@pytest.mark.parametrize(("classifier", "labels", "kind", "text"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_classifier_is_refused(make, tmp_path, classifier, labels, kind, text):
    model = model_of(make, outputs=("p", "hidden"))
    with pytest.raises(kind) as caught:
        TARGET.emit(model, tmp_path / "out", "fp32", options=wanted(classifier, labels))
    assert text in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.remedy
    assert list(tmp_path.iterdir()) == []
