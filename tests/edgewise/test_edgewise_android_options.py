"""[targets.android] and the texts of [model], from the project file to the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgewise.targets.manifest import load_artifact

IMAGE = "[data.image]\ncolor = 'bgr'\nmean = [103.5, 116.3, 123.7]\nstd = [57.4, 57.1, 58.4]\n"


def _build(run: Any, tiny: Any, pictures: Path, name: str, options: str) -> Any:
    """The android part of the report of a build on pictures, and the artifact."""
    project = tiny.folder / f"{name}.toml"
    project.write_text(
        "[model]\nsource = 'model.onnx'\nname = 'tiny'\nversion = '1.2'\n"
        f"[data]\ncalibration = '{pictures}'\nevaluation = '{pictures}'\n{IMAGE}"
        f"[output]\ndir = '{name}'\n[targets.android]\n{options}\n"
    )
    outcome = run("build", project, "--json")
    assert outcome.code == 0, outcome.err
    (result,) = (t for t in json.loads(outcome.out)["targets"].values())
    return result, load_artifact(tiny.folder / name / "android")


def test_a_build_is_validated_on_the_pixels_it_takes(run: Any, tiny: Any, pictures: Path) -> None:
    plain, own = _build(run, tiny, pictures, "plain", "")
    options = "fold_preprocessing = true\nio = 'float'"
    folded, artifact = _build(run, tiny, pictures, "folded", options)
    ends = (artifact.manifest.inputs[0], artifact.manifest.outputs[0])
    assert [end.dtype for end in ends] == ["uint8", "float32"]
    assert own.manifest.inputs[0].dtype == "int8"
    assert artifact.manifest.preprocessing["color"] == "rgb"
    assert own.manifest.preprocessing["color"] == "bgr"
    assert folded["equivalence"]["max_lsb"] <= 2
    assert folded["accuracy"]["artifact"] == plain["accuracy"]["artifact"]
    assert "folded" not in str(folded["findings"])
    assert "without preprocessing in the graph" in folded["equivalence"]["layers"]["reason"]


def test_folding_without_a_description_of_the_pictures(run: Any, tiny: Any, tmp_path: Path) -> None:
    tiny.project.write_text(
        tiny.project.read_text().replace("arm", "android") + "fold_preprocessing = true\n"
    )
    outcome = run("build", tiny.project, "--out", tmp_path / "dist")
    assert outcome.code == 2
    assert "fold_preprocessing needs to know the preprocessing" in outcome.line
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize("target", ["android", "arm"])
def test_the_files_say_who_made_them(run: Any, tiny: Any, tmp_path: Path, target: str) -> None:
    project = tiny.folder / "about.toml"
    texts = {"description": "Tells.", "version": "1.2", "author": "Ana", "license": "MIT"}
    lines = "".join(f"{key} = '{text}'\n" for key, text in texts.items())
    project.write_text(f"[model]\nsource = 'model.onnx'\nname = 'tiny'\n{lines}")
    arguments = ["emit", tiny.model, "--target", target, "--project", project, "--out", tmp_path]
    assert run(*arguments).code == 0
    if target == "arm":
        proto = onnx.load(tmp_path / "tiny.onnx")
        found = {entry.key: entry.value for entry in proto.metadata_props}
        assert {"description": proto.doc_string, **found} == texts
        return
    content = (tmp_path / "tiny.tflite").read_bytes()
    assert all(text.encode() + b"\0" in content for text in texts.values())
