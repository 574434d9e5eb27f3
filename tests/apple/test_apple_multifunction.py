"""Packages with several functions: shared weights, numbers, names, and what cannot be merged."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import helper

from edgewise.errors import ModelError, UsageError
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET
from edgewise.targets.apple._coremltools import ct, quiet
from edgewise.targets.apple.interpreter import Interpreter
from edgewise.targets.apple.multifunction import merge

NEW = {"deployment_target": "iOS18"}
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


def network(make, size, classes=10):
    """A convolution of any size of pictures, and a head."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "head"], ["y"]),
    ]
    constants = {"w": make.random(64, 3, 3, 3), "b": make.random(64, seed=1)}
    constants["head"] = make.random(64, classes, seed=classes)
    x = np.zeros((1, 3, size, size), np.float32)
    return make.build_model(nodes, {"x": x}, ["y"], constants)


@pytest.fixture
def parts(make, tmp_path):
    models = {"small": network(make, 8), "large": network(make, 16), "few": network(make, 8, 3)}
    return {
        name: TARGET.emit(model, tmp_path / name, "fp16", options=EmitOptions(options=NEW))
        for name, model in models.items()
    }


def weight_size(path):
    return (path / WEIGHTS).stat().st_size


def test_functions_compute_what_their_packages_did(make, parts, tmp_path):
    merged = merge(parts, tmp_path / "out", name="all", default="large")
    for name, part in parts.items():
        feeds = {"x": make.random(*part.manifest.inputs[0].shape)}
        alone = TARGET.open(part).run(feeds)["y"]
        assert np.array_equal(TARGET.open(merged.path, function=name).run(feeds)["y"], alone)
        direct = Interpreter(merged.path, function=name).run(feeds)["y"]
        assert np.array_equal(direct.astype(np.float32), alone)
    default = TARGET.open(merged.path)
    assert default.run({"x": make.random(1, 3, 16, 16)})["y"].shape == (1, 10)


def test_common_weights_are_stored_once(parts, tmp_path):
    """As many bytes as coremltools' own merge, and the same description."""
    merged = merge(parts, tmp_path / "out", default="large")
    assert weight_size(merged.path) < 0.5 * sum(weight_size(part.path) for part in parts.values())
    with quiet():
        theirs = ct.models.utils.MultiFunctionDescriptor()
        for name, part in parts.items():
            theirs.add_function(str(part.path), "main", name)
        theirs.default_function_name = "large"
        other = tmp_path / "theirs.mlpackage"
        ct.models.utils.save_multifunction(theirs, str(other))
    assert weight_size(merged.path) == weight_size(other)
    ours, expected = (ct.utils.load_spec(str(path)) for path in (merged.path, other))
    assert list(ours.description.functions) == list(expected.description.functions)
    assert ours.description.defaultFunctionName == expected.description.defaultFunctionName
    assert ours.specificationVersion == expected.specificationVersion
    assert set(ours.mlProgram.functions) == set(parts)


def test_the_manifest_names_the_functions(parts, tmp_path):
    merge(parts, tmp_path / "out", name="all", default="few")
    document = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert document["name"] == "all"
    assert document["options"]["default_function"] == "few"
    functions = document["options"]["functions"]
    assert set(functions) == set(parts)
    assert functions["large"]["inputs"][0]["shape"] == [1, 3, 16, 16]
    assert document["outputs"] == functions["few"]["outputs"]


def test_bytes_are_the_same_each_time(parts, tmp_path):
    contents = []
    for name in "ab":
        path = merge(parts, tmp_path / name).path
        files = sorted(file for file in path.rglob("*") if file.is_file())
        contents.append([file.read_bytes() for file in files])
    assert contents[0] == contents[1]
    manifests = [(tmp_path / name / "manifest.json").read_bytes() for name in "ab"]
    assert manifests[0] == manifests[1]


def test_states_go_along(make, tmp_path):
    x = np.ones((1, 4), np.float32)
    nodes = [
        helper.make_node("Add", ["sum", "x"], ["total"]),
        helper.make_node("Add", ["total", "total"], ["y"]),
    ]
    model = make.build_model(nodes, {"x": x, "sum": x}, ["y", "total"])
    keeping = EmitOptions(options={"states": {"sum": "total"}})
    plain = EmitOptions(options=NEW)
    merged = merge(
        {
            "first": TARGET.emit(model, tmp_path / "a", "fp16", options=plain),
            "next": TARGET.emit(model, tmp_path / "b", "fp16", options=keeping),
        },
        tmp_path / "out",
    )
    session = TARGET.open(merged.path, function="next")
    assert [session.run({"x": x})["y"][0, 0] for _ in range(2)] == [2.0, 4.0]
    assert set(TARGET.open(merged.path).run({"x": x, "sum": x})) == {"y", "total"}


def test_unknown_functions(parts, tmp_path):
    merged = merge(parts, tmp_path / "out")
    with pytest.raises(UsageError, match=r"no function 'huge'.*It has few, large, small"):
        TARGET.open(merged.path, function="huge")
    with pytest.raises(UsageError, match="no function 'huge'"):
        Interpreter(merged.path, function="huge")
    with pytest.raises(UsageError, match=r"no function 'small'.*one function"):
        TARGET.open(parts["small"], function="small")


def test_what_cannot_be_merged(make, parts, tmp_path):
    model = make.node("Relu", [(1, 5)], {}).model()
    old = TARGET.emit(model, tmp_path / "old", "fp32")
    new = TARGET.emit(
        model, tmp_path / "new", "fp32", options=EmitOptions(options={"deployment_target": "iOS26"})
    )
    classes = EmitOptions(labels=tuple("abcde"), options={**NEW, "classifier": True})
    classifier = TARGET.emit(model, tmp_path / "classifier", "fp32", options=classes)
    merged = merge(parts, tmp_path / "merged")
    small = parts["small"]
    before = sorted(path.name for path in tmp_path.iterdir())
    cases = (
        ({"small": small}, UsageError, "nothing to merge"),
        ({"small": small, "old": old}, ModelError, "functions need iOS18"),
        ({"small": small, "new": new}, ModelError, "written for different systems"),
        ({"small": small, "c": classifier}, ModelError, "a classifier cannot be"),
        ({"small": small, "m": merged}, UsageError, "several functions already"),
        ({"small": small, "1 2": small}, UsageError, "cannot be the name of a function"),
    )
    for packages, kind, text in cases:
        with pytest.raises(kind) as caught:
            merge(packages, tmp_path / "out")
        assert text in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="no function 'x'"):
        merge(parts, tmp_path / "out", default="x")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
