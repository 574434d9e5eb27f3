"""What packages say of themselves, and that every name of the model is in the manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from onnx import helper

from edgewise.graph import save
from edgewise.targets import About, EmitOptions
from edgewise.targets.apple import TARGET
from edgewise.targets.apple._coremltools import ct
from edgewise.targets.apple.metadata import PREVIEW_TYPE, source_hash


def facts(path) -> Mapping[str, str]:
    return dict(ct.utils.load_spec(str(path)).description.metadata.userDefined)


def pictures(make, scale=1.0):
    nodes = [
        helper.make_node("Conv", ["in/0:a", "w"], ["c"], name="conv"),
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Softmax", ["f"], ["out.prob"]),
    ]
    x = np.zeros((1, 3, 8, 8), np.float32)
    weights = {"w": scale * make.random(3, 3, 3, 3)}
    return make.build_model(nodes, {"in/0:a": x}, ["out.prob", "c"], weights)


def test_the_user_and_the_tool_are_named(make, tmp_path):
    about = About("Tells flowers.", "1.2", "Ana Example", "Apache-2.0")
    options = EmitOptions(name="flowers", about=about)
    model = pictures(make)
    artifact = TARGET.emit(model, tmp_path, "fp16", options=options)
    metadata = ct.utils.load_spec(str(artifact.path)).description.metadata
    assert metadata.shortDescription == "Tells flowers."
    assert (metadata.versionString, metadata.author) == ("1.2", "Ana Example")
    assert metadata.license == "Apache-2.0"
    said = facts(artifact.path)
    assert said["edgewise.model"] == "flowers" and said["edgewise.precision"] == "fp16"
    assert said["edgewise.version"] == artifact.manifest.versions["edgewise"]
    assert said["edgewise.source_sha256"] == source_hash(model)
    assert PREVIEW_TYPE not in said


def test_xcode_can_preview_classifiers_of_pictures(make, tmp_path):
    model = pictures(make)
    options = EmitOptions(
        labels=("a", "b", "c"),
        preprocessing={"mean": 1.0, "std": 2.0},
        options={"classifier": True, "fold_preprocessing": True},
    )
    path = TARGET.emit(model, tmp_path, "fp16", options=options).path
    assert facts(path)[PREVIEW_TYPE] == "imageClassifier"


def test_the_source_is_told_by_what_it_computes(make, tmp_path):
    model = pictures(make)
    save(model, tmp_path / "model.onnx")
    saved = ir.load(tmp_path / "model.onnx")
    assert source_hash(saved) == source_hash(model) == source_hash(pictures(make))
    saved.graph.doc_string, saved.producer_name = "said", "tool"
    next(iter(saved.graph)).doc_string = "said"
    assert source_hash(saved) == source_hash(model)
    assert source_hash(pictures(make, scale=1.5)) != source_hash(model)
    path = TARGET.emit(tmp_path / "model.onnx", tmp_path / "out", "fp32").path
    assert facts(path)["edgewise.source_sha256"] == source_hash(model)


def test_ends_are_described(make, tmp_path):
    model = pictures(make)
    model.graph.outputs[0].doc_string = "Share of each flower"
    description = ct.utils.load_spec(str(TARGET.emit(model, tmp_path, "fp32").path)).description
    assert description.input[0].shortDescription == "'in/0:a' of the model"
    assert description.output[0].shortDescription == "Share of each flower"


def test_every_name_has_a_file_name(make, tmp_path):
    """With a picture, a classifier and plain outputs; with states."""
    model = pictures(make)
    options = EmitOptions(
        labels=("a", "b", "c"),
        preprocessing={"mean": 1.0, "std": 2.0},
        options={"classifier": True, "fold_preprocessing": True},
    )
    artifact = TARGET.emit(model, tmp_path / "a", "fp32", options=options)
    check_names(artifact, model)

    x = np.zeros((1, 4), np.float32)
    nodes = [
        helper.make_node("Add", ["past/keys", "x:0"], ["present/keys"]),
        helper.make_node("Relu", ["present/keys"], ["y.1"]),
    ]
    model = make.build_model(nodes, {"x:0": x, "past/keys": x}, ["y.1", "present/keys"])
    options = EmitOptions(options={"states": {"past/keys": "present/keys"}})
    check_names(TARGET.emit(model, tmp_path / "b", "fp32", options=options), model)


def check_names(artifact, model):
    description = ct.utils.load_spec(str(artifact.path)).description
    files = {
        feature.name
        for part in (description.input, description.output, description.state)
        for feature in part
    }
    manifest = artifact.manifest
    assert [s.name for s in manifest.inputs] == [value.name for value in model.graph.inputs]
    assert [s.name for s in manifest.outputs] == [value.name for value in model.graph.outputs]
    told = {signature.file_name for signature in (*manifest.inputs, *manifest.outputs)}
    assert told | {description.predictedFeatureName} - {""} == files
    assert all(re.fullmatch(r"[A-Za-z_]\w*", name) for name in files)


def test_bytes_are_the_same_each_time(make, tmp_path):
    options = EmitOptions(
        labels=("a", "b", "c"),
        preprocessing={"mean": (1.0, 2.0, 3.0), "std": 2.0},
        options={"classifier": True, "fold_preprocessing": True},
    )
    contents = []
    for name in "ab":
        TARGET.emit(pictures(make), tmp_path / name, "fp16", options=options)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        contents.append([path.read_bytes() for path in files])
    assert contents[0] == contents[1]
